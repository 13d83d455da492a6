"""Keys of structured prompts: those whose values name things, and those whose values do not."""

from __future__ import annotations

import re

IGNORED_KEYS = frozenset(
    "title headline audio sound music dialogue "
    "camera lens lenses lighting light lights style styles mood moods atmosphere color colors colour "
    "colours palette composition negative neg avoid exclude exclusions sampler steps seed cfg scheduler "
    "time quality resolution aspect ratio model artist artists medium media technique techniques effect "
    "effects processing post weather font fonts typography aperture iso shutter focal focus exposure "
    "film angle shot perspective framing depth tone tones texture textures material materials size width "
    "height format render rendering rendered engine aesthetic aesthetics era genre vibe emotion emotions "
    "expression age gender count quantity number id version parameters settings tags season theme "
    "keywords finish realism sharpness contrast saturation filter filters intent purpose usage platform "
    "orientation layout inspiration influences"
    "feel feeling motion speed language rating source hex".split()
)
"""A key with one of these words describes the image or a quality, not a thing."""
TEXT_KEYS = frozenset(
    "text title caption_text headline slogan label quote sign_text copy words lettering".split()
)
"""The values of these are painted as letters."""
PREFIXES = (
    "main|primary|secondary|second|third|first|key|central|other|additional|overall|visual|colou?r|art|"
    "image|camera|lighting|background|foreground|negative|positive|post|aspect|subject|scene"
)
KEYS = (
    "subjects?|objects?|characters?|person|people|animals?|items?|elements?|props?|scenes?|settings?|"
    r"environment|location|place|background|foreground|midground|middle ground|surround\w+|descriptions?|"
    "prompt|positive|negative|action|activity|pose|clothing|clothes|outfit|attire|wardrobe|accessories|"
    "surface|concept|camera|lens|lighting|light|style|mood|atmosphere|colou?rs?|palette|composition|time|"
    "time of day|weather|quality|resolution|ratio|artist|medium|technique|effects?|processing|angle|shot|"
    "perspective|framing|details?|tone|texture|materials?|format|render|aesthetic|era|genre|vibe|emotion|"
    "expression|focus|theme|season|parameters|steps|sampler|seed|cfg scale|model|avoid|exclude|film|"
    "aperture|exposure"
)
ANY_KEY = rf"(?:(?:{PREFIXES}) ?[_ -]?){{0,2}}(?:{KEYS})"
"""The key of a "key: value" line."""
THING_KEYS = re.compile(
    r"subjects?|objects?|characters?|props?|elements?|items?|description|desc|person|people|animals?|foreground|"
    r"background|midground|environment|setting|prompt|caption|scene|main"
)
"""A key with one of these words names things, whatever the keys around it say."""
NEGATIVE_KEYS = frozenset("negative neg avoid exclude exclusions".split())
SCHEMA_TYPES = frozenset("object string number integer array boolean image prompt scene photo text".split())
"""Values of "type" that say what kind of entry it is."""
