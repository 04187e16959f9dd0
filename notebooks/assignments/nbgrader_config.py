"""nbgrader's settings for this folder (see README.md)."""

import sys

from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearOutput,
    DeduplicateIds,
    OverwriteCells,
    OverwriteKernelspec,
)


class Deduplicate(DeduplicateIds):
    """A copied cell loses its metadata entirely: the empty rest would stop nbgrader 0.9."""

    def preprocess_cell(self, cell, resources, cell_index):
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if cell.metadata.get("nbgrader") == {}:
            del cell.metadata["nbgrader"]
        return cell, resources


c = get_config()  # noqa: F821 (nbgrader provides it)
c.CourseDirectory.course_id = "bsrnn"
c.GenerateAssignment.force = True  # release/ is committed, and made again by the same steps
c.Execute.timeout = 60  # seconds for one cell: a question may take 30 by the clock
c.Autograde.sanitize_preprocessors = [
    ClearOutput,
    Deduplicate,  # the only step that is not nbgrader's own
    OverwriteKernelspec,
    OverwriteCells,
    CheckCellMetadata,
]

if "autograde" in sys.argv and sys.platform == "linux":
    import resource  # kernels inherit it: a hungry visible test must not take the machine

    resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, 6 * 2**30))
