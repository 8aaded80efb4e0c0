"""The scoreboard as one HTML file: sortable and filterable tables, without a network.

The page is templates/scoreboard.html with scoreboard.css and scoreboard.js.
"""

from pathlib import Path

from research.reports import html
from research.reports.scoreboard.board import Board
from research.reports.scoreboard.claims import QUESTIONS, claim, losses

COLUMNS = (  # head, whether it sorts by number
    ("Task", False),
    ("Measure", False),
    ("GAIR [95%]", True),
    ("Untrained", True),
    ("To untrained", True),
    ("Best baseline", True),
    ("To best", True),
    ("Claim", True),
)
STATUS = {  # in the order in which they sort
    "supported": "supported",
    "partly": "over untrained, not all",
    "no claim": "no claim",
    "refuted": "refuted",
}


def page(board: Board) -> str:
    """Board -> HTML text."""
    order = {status: i for i, status in enumerate(STATUS)}

    def values(name: str) -> list[str]:
        lines = [x for _, of in board.shown for x in of]
        return sorted({getattr(x, name) for x in lines}, key=lambda v: (order.get(v, 0), v))

    return html.render(
        "scoreboard.html",
        board=board,
        claim=claim,
        losses=losses,
        kind=board.lines and ("synthetic" if board.run.dataset.synthetic else "real"),
        columns=COLUMNS,
        statuses=STATUS,
        order=order,
        questions=QUESTIONS,
        filters=[
            ("modality", "Modality", values("modality")),
            ("held", "Test rows are", values("held_out")),
            ("data", "Data", values("data")),
            ("status", "Claim", values("status")),
        ],
    )


def write(board: Board, path: str | Path) -> Path:
    """Write the page; BadInput if it would need a network."""
    return html.write(page(board), path)
