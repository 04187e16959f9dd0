"""Which submissions share code that the rest of the class does not: a hint for a teacher's eyes.

The code of each is read as a row of tokens without names, comments and texts, and cut into runs of
`RUN` tokens. Runs that every third submission has (what is given, what anybody writes) do not
count. Nothing is executed or parsed, so that no file can do harm.

Reference: Schleimer, Wilkerson and Aiken 2003, Winnowing, SIGMOD (the way of MOSS).
"""

import json
import keyword
import re
from collections import Counter
from itertools import combinations

RUN = 12  # tokens
COMMON = 1 / 3  # of the class
LEAST = 25  # runs of its own that a submission needs to be compared
_NOISE = re.compile(r"#[^\n]*|\"\"\".*?\"\"\"|'''.*?'''|\"[^\"\n]*\"|'[^'\n]*'", re.DOTALL)
_TOKEN = re.compile(r"\.?[A-Za-z_]\w*|\d[\w.]*|[^\w\s]")


def runs(notebook: bytes) -> set[int]:
    """The runs of tokens in the code cells of a notebook; none if it is no notebook."""
    try:
        cells = json.loads(notebook)["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    except (ValueError, KeyError, TypeError, RecursionError):
        return set()
    tokens = [_plain(token) for token in _TOKEN.findall(_NOISE.sub(" ", code[:200_000]))]
    return {hash(tuple(tokens[i : i + RUN])) for i in range(len(tokens) - RUN + 1)}


def _plain(token: str) -> str:
    """Names of the student's are all one; keywords, attributes, numbers and signs stay."""
    named = token.isidentifier() and not keyword.iskeyword(token)
    return "name" if named else token


def pairs(prints: dict[str, set[int]]) -> list[tuple[float, str, str]]:
    """(share, one, other) of all pairs, most alike first: the runs that both have, of the runs
    that the shorter one has, common ones left out.

    >>> pairs({"a": set(range(99)), "b": set(range(9, 99)), "c": set(range(200, 300))})[0]
    (1.0, 'a', 'b')
    """
    count = Counter(run for each in prints.values() for run in each)
    most = max(2, COMMON * len(prints))
    rare = {name: {r for r in each if count[r] <= most} for name, each in prints.items()}
    found = []
    for one, other in combinations([n for n in rare if len(rare[n]) >= LEAST], 2):
        shared = len(rare[one] & rare[other]) / min(len(rare[one]), len(rare[other]))
        found.append((round(shared, 2), one, other))
    return sorted(found, reverse=True)
