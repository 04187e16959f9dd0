"""What `bsrnn.course` offers: loaded on first use, read by editors and type checkers."""

from .claims import claim as claim, see as see
from .grading import examine as examine, grade as grade
from .lesson import (
    attempt as attempt,
    begin as begin,
    earlier as earlier,
    folder as folder,
    show as show,
    table as table,
    write_card as write_card,
)
from .outputs import check as check
from .predictions import (
    Sketch as Sketch,
    entered as entered,
    predict as predict,
    reveal as reveal,
)
from .stamp import restamp as restamp
