"""What a study is, as data: ways of making an image, the study that runs them, and one record per image."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from tools.tiny.prompts import Prompt, prompts

NEW_SEED_DISTANCE = 1_000_000  # between the noise seeds of one prompt; lists of prompts are far shorter
PLAIN = "plain"
UNHASHED = ("date", "machine")  # facts that do not decide what an image looks like


@dataclass(frozen=True)
class Sampling:
    """Settings of the KSampler node."""

    steps: int = 50
    sampler: str = "ddpm"
    scheduler: str = "ddim_uniform"
    cfg: float = 7.5


HOW = {
    "sd": Sampling(steps=20),
    "sd3": Sampling(20, "euler", "simple", 4.0),
    "sd3-turbo": Sampling(8, "euler", "simple", 1.0),
}
SD3_READS = "encoders=clip, blocks=3"  # chosen on validation prompts: docs/settings.md
TURBO_READS = "encoders=clip, blocks=2-3"
SD3_NODE = {"method": "Latent Refine (fast)", "at_percent": 0.2, "overrides": SD3_READS}


@dataclass(frozen=True)
class Way:
    """One way of making an image.

    name: its row in tables. method: as in the drop-down, "" = the unchanged model. at_percent, at_step: where
    a method that acts at one step acts, None = the method's own. overrides: as typed on the node. strength:
    scales every update, guidance_scale only those of per-step guidance; 1 = as published. new_seed: 0 = the
    prompt's own noise, n = its n-th other seed. edit, edit_overrides: a method without gradients that acts in
    the same run, and what is typed for it. boxes: subjects get boxes side by side. last_unwanted: the
    last object of each prompt must not appear.
    """

    name: str = PLAIN
    method: str = ""
    at_percent: float | None = None
    at_step: int | None = None
    overrides: str = ""
    strength: float = 1.0
    guidance_scale: float = 1.0
    new_seed: int = 0
    boxes: bool = False
    last_unwanted: bool = False
    edit: str = ""
    edit_overrides: str = ""

    def seed(self, prompt: Prompt) -> int:
        """The noise seed of this way for a prompt."""
        return prompt.seed + self.new_seed * NEW_SEED_DISTANCE


@dataclass(frozen=True)
class Study:
    """Ways, and the prompts that all of them get.

    model: "sd" (UNet) or "sd3" (MM-DiT); file: instead of the embedded one. objects: numbers of objects in a
    prompt. pairs: prompts of each number. batch: images made together (the noise that ddpm adds depends on
    it). timed: prompts of each number whose images are made once more, one at a time, for the seconds. facts:
    versions, the model file and the code, as text. colours: prompts with colours, without, or both.
    """

    name: str
    ways: tuple[Way, ...]
    model: str = "sd"
    file: str = ""
    sampling: Sampling = Sampling()
    objects: tuple[int, ...] = (3,)
    pairs: int = 300
    split: str = "test"
    batch: int = 20
    timed: int = 0
    command: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    colours: tuple[bool, ...] = (True,)

    def prompts(self, objects: int, coloured: bool = True) -> list[Prompt]:
        """The prompts with this number of objects."""
        return prompts(objects, self.pairs, self.split, coloured)

    @property
    def sets(self) -> list[tuple[int, bool]]:
        """(number of objects, with colours?) of each list of prompts."""
        return [(objects, coloured) for objects in self.objects for coloured in self.colours]

    def batches(self) -> Iterator[tuple[Way, list[Prompt]]]:
        """All batches in the order in which they are made: the numbers of objects and the ways take turns."""
        lists = [self.prompts(*one) for one in self.sets]
        for start in range(0, self.pairs, self.batch):
            for wanted in lists:
                for way in self.ways:
                    yield way, wanted[start : start + self.batch]

    def alone(self) -> "Study":
        """The same ways, one image at a time, on the first `timed` prompts."""
        return replace(self, name=f"{self.name}, alone", pairs=self.timed, batch=1, timed=0)

    @property
    def versions(self) -> dict[str, str]:
        """The facts that decide what an image looks like."""
        return {name: text for name, text in self.facts.items() if name not in UNHASHED}

    def config(self, way: Way, batch: Sequence[Prompt]) -> str:
        """A hash of all that decides what the images of a batch look like, 12 hex digits."""
        parts = [asdict(way), asdict(self.sampling), self.model, self.versions, batch[0].seed, len(batch)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @classmethod
    def from_dict(cls, stored: dict) -> "Study":
        """The inverse of `asdict`."""
        ways, sampling = tuple(Way(**way) for way in stored["ways"]), Sampling(**stored["sampling"])
        sets = {name: tuple(stored[name]) for name in ("objects", "colours") if name in stored}
        return cls(**stored | {"ways": ways, "sampling": sampling, **sets})


@dataclass(frozen=True)
class Record:
    """One image: which one it is, whether it is right, and what it cost.

    study, model, prompt, seed, way and config identify it; pack is the pack's version. objects: all wanted
    shapes are there; colours: in their colours too. forwards, backwards: passes besides the sampling steps,
    as if the image were made alone; batch_forwards, batch_backwards: those of its whole batch of `batch`
    images, made in `seconds`. step: the first one with an update. first_loss, last_loss: of the first recipe.
    weakest: the highest attention of the weakest subject at the first evaluation.
    kept, outside: of an edit, see `edit.py`. percent, sigma: noise level of `step`, as share of the schedule
    and as such. None where a way has no such number.
    """

    study: str
    model: str
    prompt: str
    seed: int
    way: str
    config: str
    pack: str
    objects: bool
    colours: bool
    batch: int
    seconds: float
    forwards: int = 0
    backwards: int = 0
    batch_forwards: int = 0
    batch_backwards: int = 0
    step: int | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    weakest: float | None = None
    kept: float | None = None
    outside: float | None = None
    percent: float | None = None
    sigma: float | None = None

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        """What identifies the image."""
        return self.study, self.model, self.prompt, self.seed, self.way, self.config
