"""Where the nodes of the first workflow stand: picture and report at reading size in one view; what nobody
has to change is collapsed.
"""

from .arrange import Arrangement, Box

NAME = "01 Start here - a lost star comes back"
PLACES = {  # node id -> left, top, width, height
    1: (0, 0, 260, 98),
    6: (0, 166, 260, 82),
    2: (300, 0, 300, 400),
    3: (640, 0, 260, 130),
    12: (940, 0, 520, 320),
    13: (940, 370, 520, 450),
}
COLLAPSED = {
    4: (640, 200),
    5: (640, 245),
    7: (640, 310),
    8: (640, 355),
    9: (640, 420),
    10: (640, 465),
    11: (640, 530),
}
NOTE = Box(0, 306, 260, 360)
FRAMES = (
    Box(-20, -90, 300, 930, "Model"),
    Box(280, -90, 340, 930, "Nursing"),
    Box(620, -90, 300, 930, "Prompt and sampling"),
    Box(920, -90, 560, 930, "Result"),
)


def arrangement() -> Arrangement:
    """The places as those of any other workflow."""
    positions = {node: place[:2] for node, place in {**PLACES, **COLLAPSED}.items()}
    return Arrangement(positions, NOTE, FRAMES)
