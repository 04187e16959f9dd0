"""nbformat, without the CPU second that its import may cost.

jsonschema, which it brings in, builds a grammar of web addresses wherever rfc3987_syntax is
installed. A notebook has no address to be checked, and jsonschema goes on without.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # "not installed", for as long as the import takes
import nbformat  # noqa: E402, F401

if sys.modules["rfc3987_syntax"] is None:
    del sys.modules["rfc3987_syntax"]
