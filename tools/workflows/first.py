"""Where the nodes of the first workflow stand: picture and report at reading size in one view; what nobody
has to change is collapsed.
"""

from .arrange import Arrangement, Box

NAME = "01 Start here - a lost star comes back"
PLACES = {  # node id -> left, top, width, height
    1: (0, 0, 290, 98),
    6: (0, 170, 290, 82),
    2: (340, 0, 330, 400),
    3: (720, 0, 300, 130),
    12: (1070, 0, 600, 340),
    13: (1070, 410, 600, 450),
}
COLLAPSED = {
    4: (720, 200),
    5: (720, 245),
    7: (720, 310),
    8: (720, 355),
    9: (720, 420),
    10: (720, 465),
    11: (720, 530),
}
NOTE = Box(0, 330, 290, 400)
FRAMES = (
    Box(-20, -90, 330, 970, "Model"),
    Box(320, -90, 370, 970, "Nursing"),
    Box(700, -90, 340, 970, "Prompt and sampling"),
    Box(1050, -90, 640, 970, "Result"),
)


def arrangement() -> Arrangement:
    """The places as those of any other workflow."""
    positions = {node: place[:2] for node, place in {**PLACES, **COLLAPSED}.items()}
    return Arrangement(positions, NOTE, FRAMES)
