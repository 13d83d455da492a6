"""Words about the image, not about what it shows: kinds of image, photography, styles, quality, requests."""

from __future__ import annotations

from .word_lists import phrases_of, words_of

TEMPLATES = words_of(
    "photo photos picture pictures image images painting paintings scene photograph photographs drawing "
    "drawings illustration illustrations portrait sketch render rendering shot shots close-up closeup "
    "snapshot screenshot watercolor watercolour artwork art poster print view views version depiction "
    "representation selfie wallpaper digital-art oil-painting headshot footage polaroid logo icon "
    "sticker emoji sheet cover spread page doodle cartoon caricature mockup blueprint diagram "
    "infographic concept design designs scene composition visualization visualisation cross-section "
    "collage still panorama stock-photo artstation frame cutaway clipart linocut engraving etching "
    "lithograph woodcut mosaic tattoo vector animation gif video clip film movie comic photorealism "
    "portraiture study pattern ad advert advertisement flyer thumbnail avatar story prompt snap capture "
    "series mascot collection set example card"
)
"""Kinds of image: no things before "of", "with", "showing" ..., nor as "the image"."""
OBJECTS = words_of("poster book cover sign card page tattoo sticker print painting paintings frame blueprint")
"""Kinds of image that are also things: "a poster with a torn corner"."""
IMAGE_NOUNS = words_of(
    "image picture photo photograph scene composition frame view shot painting illustration drawing "
    "artwork portrait viewer camera viewers photographer video render depiction"
)
"""What an image is called when it is talked about: "the image", "this photo"."""
IMAGE_VERBS = words_of(
    "show shows showing shown depict depicts depicting depicted feature features featuring featured "
    "capture captures capturing captured portray portrays portraying present presents presenting display "
    "displays displaying contain contains containing include includes including illustrate illustrates "
    "illustrating showcase showcases showcasing reveal reveals highlights highlighting focuses"
)
REQUESTS = words_of(
    "create generate draw make paint render design imagine sketch show give depict illustrate produce "
    "visualize please add put place remove replace change turn edit keep want need see like compose "
    "craft write insert"
)
"""Verbs said to the machine at the beginning of a prompt."""

STYLE_HEADS = words_of(
    "style styles aesthetic aesthetics lighting lit art artwork render rendering renders photography "
    "photo quality resolution palette tones tone colors colours color colour shading brushstrokes "
    "strokes brushwork linework lineart lines lens lenses composition detail details texture textures "
    "design designs effect effects filter angle angles perspective shot view focus contrast exposure "
    "mood atmosphere vibe vibes vibrance ambience ambiance illustration painting print drawing sketch "
    "engine grain bokeh leaks leak flare flares rays realism realistic photorealistic photorealism "
    "hyperrealism score pose poses posing gaze proportions anatomy masterpiece wallpaper minimalism "
    "impressionism expressionism surrealism cubism film stock scale blur scheme rendition technique "
    "techniques edition movement era period theme key highlights hues hue gradient gradients saturation "
    "sharpness clarity outlines outline dof fov raytracing tracing occlusion illumination scattering "
    "focused detailed realist feeling feel vibrancy shadows backlight backlighting space flash wash "
    "stacking trails vignette level format grading noise ratio range dslr softbox gel tint tints finish "
    "toned shading shaded retro poly distortion magazine dots flatlay exposures sharpening framing crop "
    "motion miniature process strobe diffuser keylight balance gradation stippling hatching "
    "crosshatching strokes stroke piece paint knife ink"
)
"""Last words of a tag that speaks of style: "muted tones", "cel shading"."""
STYLE_WORDS = words_of(
    "isometric behance artstation deviantart pixiv pinterest instagram unsplash flickr cgsociety "
    "dribbble ukiyo-e lofi lo-fi synthwave vaporwave retrowave outrun steampunk cyberpunk solarpunk "
    "dieselpunk gothic baroque rococo renaissance bauhaus brutalist impressionist impressionistic "
    "expressionist surrealist cubist chiaroscuro impasto pointillism anime manga chibi kawaii ghibli "
    "pixar disney dreamworks feral furry anthro futuristic minimalist minimalistic minimal maximalist "
    "abstract surreal hyperrealistic hyper-realistic ultra-realistic photorealistic photo-realistic "
    "realistic cinematic moody dramatic ethereal whimsical intricate hyperdetailed ultradetailed "
    "hyper-detailed ultra-detailed detailed vibrant vivid colorful pastel monochrome grayscale greyscale "
    "sepia noir hdr uhd hd fhd 4k 8k 16k raw dslr slr iso octane vray v-ray redshift blender unity "
    "unreal arnold cinema4d c4d houdini zbrush maya 3d 2d 3dcg cgi vfx gopro polaroid kodak portra ektar "
    "cinestill fujifilm velvia ilford leica canon nikon sony hasselblad pentax olympus eos panavision "
    "imax arri alexa lomography tilt-shift bokeh macro fisheye wide-angle telephoto lens f-stop aperture "
    "tripod backlit backlighting rim-light volumetric lowpoly low-poly pixelart pixel-art voxel "
    "watercolor watercolour gouache acrylic pastels charcoal ink vector flat cel-shaded cel-shading cel "
    "hand-drawn handdrawn halftone diorama dots trending award-winning masterpiece aesthetic symmetrical "
    "symmetry symmetric centered asymmetrical lineart sketch doodle clipart sfw nsfw explicit safe "
    "questionable absurdres highres hires lowres solo nostalgic dreamy dreamlike gritty grunge y2k "
    "kitsch psychedelic trippy cozy cosy atmospheric photography photograph photo render rendering "
    "illustration artwork art nouveau deco pop-art pop fantasy sci-fi scifi horror analog analogue "
    "vintage retro modern contemporary candid editorial documentary highly extremely ultra super very "
    "hyper insanely beautiful stunning epic gorgeous elegant sharp soft crisp clean smooth bright dark "
    "warm cold cool muted natural studio golden blue best high top good great amazing quality resolution "
    "professional official close-up closeup wide full medium long low shallow deep dynamic digital matte "
    "concept oil pencil line trending featured popular contest winner unreal engine octane ray global "
    "ambient rim god lens motion depth field focus tone tones light lighting shadow shadows glow angle "
    "landscape portrait orientation mode version simple white grey gray gradient blurry blurred plain "
    "detail vhs 90s 80s 70s 60s 1980s rpg dnd claymation stop-motion stop miniature traditional flash "
    "bold lines ink wash brush strokes negative space on paper canvas thick paint palette knife museum "
    "piece tattoo splash sumi-e linocut risograph screenprint collage papercut origami-style infrared "
    "cyanotype daguerreotype saturated desaturated grainy vignette tilt shift overcast seamless backdrop "
    "overhead top-down eye level three-quarter handheld iphone snapshot trails stacking gimbal noise "
    "grading color colour range speed shutter frozen black red shaded slight softbox rig anamorphic "
    "details texture 35mm 50mm 85mm 24mm film grain stock photo still life shot view pov selfie scenic "
    "scenery"
)
"""A tag made of these words alone speaks of style: "volumetric light", "vibrant glow"."""
STYLE_STARTS = phrases_of(
    "shot on|shot with|shot by|shot from|shot at|photographed|filmed|thanks|thank you|hi|hello|hey|make it|"
    "keep it|taken with|taken on|captured on|captured with|filmed on|trending on|featured on|rendered in|"
    "rendered with|inspired by|influenced by|in the style|style of|art by|artwork by|photo by|"
    "photograph by|illustration by|painting by|directed by|made by|drawn by|rule of|rules of|depth of|"
    "looking at|looking away|looking back|facing viewer|score|source|rating|artist|by artist|award winning|"
    "negative space|multiple poses|multiple views|no text|no people|no humans|no watermark|time of|"
    "sense of|year"
)
"""First words of a tag that speaks of the image."""
CAMERA_BRANDS = words_of(
    "canon nikon sony leica hasselblad fujifilm fuji kodak pentax olympus lumix panasonic gopro arri "
    "polaroid cinestill portra ektar ilford velvia zeiss sigma tamron mamiya rolleiflex camcorder vx "
    "vogue contax ricoh dji mavic iphone nikkor cooke anamorphic rollei holga lomo instax"
)
UNITS = words_of("mm cm px mp k iso fps ev s f kelvin d hz x megapixel megapixels dpi ppi")
ARTISTS = words_of(
    "rutkowski mucha monet rembrandt picasso moebius ghibli miyazaki beksinski giger artgerm frazetta "
    "hokusai klimt dali caravaggio vermeer turner hopper warhol banksy basquiat kahlo matisse cezanne "
    "gogh makoto shinkai bouguereau waterhouse sargent loish wlop sakimichan krenz kuvshinov bosch "
    "bruegel rothko escher magritte kandinsky mondrian rockwell leyendecker bierstadt friedrich munch "
    "kinkade"
)
SKIPPED_TAGS = phrases_of(
    "best quality|high quality|worst quality|low quality|normal quality|top quality|amazing quality|"
    "great quality|good quality|highest quality|very aesthetic|aesthetic|masterpiece|high resolution|"
    "high res|highres|absurdres|ultra detailed|highly detailed|extremely detailed|very detailed|detailed|"
    "intricate details|newest|recent|official art|simple background|white background|black background|"
    "grey background|gradient background|blurry background|blurred background|solo|solo focus|"
    "looking at viewer|looking back|full body|upper body|lower body|cowboy shot|close up|open mouth|"
    "closed mouth|closed eyes|sharp focus|soft focus|depth of field|shallow depth of field|golden hour|"
    "bokeh|film grain|photorealistic|realistic|photo|raw photo|cinematic|cinematic lighting|"
    "dramatic lighting|volumetric lighting|soft lighting|studio lighting|natural light|soft light|"
    "rim light|sunlight|concept art|digital art|digital painting|oil painting|oil on canvas|"
    "trending on artstation|unreal engine|octane render|wallpaper|vibrant colors|vivid colors|"
    "highly realistic|award winning|award-winning|professional photography|portrait photography|"
    "in the style of|no humans|smile|blush|grin|holding hands|scenery|standing|sitting|outdoors|indoors|"
    "day|night|from above|from below|from behind|from side|monochrome|comic|manga|sketch|jpeg artifacts|"
    "bad anatomy|bad hands|extra digits|text|watermark|signature|volumetric fog|blue hour|"
    "transparent background|looking away|looking up|looking down|arms up|crossed arms|hands on hips|"
    "light particles|motion lines|speed lines|lens flare|chromatic aberration|film noir|still life|cheers|"
    "regards|date stamp|national geographic|sunny|cloudy|dutch angle|rainy|windy|summer|winter|autumn|"
    "spring|realism|dynamic pose|action pose|gold leaf|clean lines"
)
