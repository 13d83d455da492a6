"""What published checkpoints contain, written down as facts: keys with their shapes, settings, and how often
text meets image.

The keys and the number of parameters are those of the files that people download; the settings are those of
their papers and configuration files. From the settings ComfyUI's own classes make the other keys, without
memory (on the meta device).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.network_sizes import FLUX, SD15, SD21, SD35M, SDXL, UNET


@dataclass(frozen=True)
class Published:
    """config: class in ComfyUI's supported_models that the detection must find. settings: of the network.

    prefix: before every key in the file. keys: key -> shape. parameters: of the network, in the published
    file. latent: [1, C, h, w] at the size it was trained for; context: rows and width of the conditioning;
    more: other inputs. prediction: ComfyUI's name of it. endings: how keys end in the file where ComfyUI
    has renamed its own. layers, level, heads, grid: what the pack reads by default. columns: key positions of
    row 0 of the conditioning and after its last.
    """

    config: str
    settings: dict
    prefix: str
    keys: dict[str, tuple[int, ...]]
    parameters: int
    latent: tuple[int, ...]
    context: tuple[int, int]
    layers: int
    level: int
    heads: int
    grid: tuple[int, int]
    columns: tuple[int, int]
    more: dict[str, tuple[int, ...]] = field(default_factory=dict)
    prediction: str = "EPS"
    endings: dict[str, str] = field(default_factory=dict)


DIFFUSION = "model.diffusion_model."

PUBLISHED: dict[str, Published] = {
    "Stable Diffusion 1.5": Published(
        "SD15",
        SD15,
        DIFFUSION,
        {
            "time_embed.0.weight": (1280, 320),
            "input_blocks.0.0.weight": (320, 4, 3, 3),
            "input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
            "input_blocks.8.1.transformer_blocks.0.attn2.to_q.weight": (1280, 1280),
            "middle_block.1.transformer_blocks.0.attn2.to_v.weight": (1280, 768),
            "output_blocks.3.1.transformer_blocks.0.ff.net.0.proj.weight": (10240, 1280),
            "output_blocks.11.1.transformer_blocks.0.norm1.bias": (320,),
            "out.2.weight": (4, 320, 3, 3),
        },
        parameters=859_520_964,
        latent=(1, 4, 64, 64),
        context=(77, 768),
        layers=5,
        level=4,
        heads=8,
        grid=(16, 16),
        columns=(0, 77),
    ),
    "Stable Diffusion 2.1": Published(
        "SD20",
        SD21,
        DIFFUSION,
        {
            "input_blocks.0.0.weight": (320, 4, 3, 3),
            "input_blocks.1.1.proj_in.weight": (320, 320),
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
            "middle_block.1.transformer_blocks.0.attn2.to_v.weight": (1280, 1024),
            "output_blocks.11.1.transformer_blocks.0.norm1.bias": (320,),
        },
        parameters=865_910_724,
        latent=(1, 4, 96, 96),
        context=(77, 1024),
        layers=5,
        level=4,
        heads=20,
        grid=(24, 24),
        columns=(0, 77),
        prediction="V_PREDICTION",
    ),
    "Stable Diffusion XL": Published(
        "SDXL",
        SDXL,
        DIFFUSION,
        {
            "input_blocks.0.0.weight": (320, 4, 3, 3),
            "label_emb.0.0.weight": (1280, 2816),
            "input_blocks.4.1.transformer_blocks.1.attn2.to_k.weight": (640, 2048),
            "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight": (1280, 2048),
            "middle_block.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
            "output_blocks.0.1.transformer_blocks.9.ff.net.2.weight": (1280, 5120),
            "output_blocks.5.1.proj_out.weight": (640, 640),
            "out.2.bias": (4,),
        },
        parameters=2_567_463_684,
        latent=(1, 4, 128, 128),
        context=(77, 2048),
        layers=60,
        level=4,
        heads=20,
        grid=(32, 32),
        columns=(0, 77),
        more={"y": (1, 2816)},
    ),
    "Stable Diffusion 3.5 medium": Published(
        "SD3",
        SD35M,
        DIFFUSION,
        {
            "x_embedder.proj.weight": (1536, 16, 2, 2),
            "context_embedder.weight": (1536, 4096),
            "y_embedder.mlp.0.weight": (1536, 2048),
            "pos_embed": (1, 147456, 1536),
            "joint_blocks.0.context_block.attn.qkv.weight": (4608, 1536),
            "joint_blocks.0.x_block.attn.ln_q.weight": (64,),
            "joint_blocks.12.x_block.attn2.qkv.weight": (4608, 1536),
            "joint_blocks.0.x_block.adaLN_modulation.1.weight": (13824, 1536),
            "joint_blocks.13.x_block.adaLN_modulation.1.weight": (9216, 1536),
            "joint_blocks.23.context_block.adaLN_modulation.1.weight": (3072, 1536),
            "final_layer.linear.weight": (64, 1536),
        },
        parameters=2_243_171_520 + 147456 * 1536,
        latent=(1, 16, 128, 128),
        context=(154, 4096),
        layers=24,
        level=2,
        heads=24,
        grid=(64, 64),
        columns=(0, 154),
        more={"y": (1, 2048)},
        prediction="FLOW",
    ),
    "Flux dev": Published(
        "Flux",
        FLUX,
        "",
        {
            "img_in.weight": (3072, 64),
            "txt_in.weight": (3072, 4096),
            "vector_in.in_layer.weight": (3072, 768),
            "guidance_in.in_layer.weight": (3072, 256),
            "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
            "double_blocks.18.txt_mod.lin.weight": (18432, 3072),
            "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
            "single_blocks.37.linear1.weight": (21504, 3072),
            "final_layer.linear.weight": (64, 3072),
        },
        parameters=11_901_408_320,
        latent=(1, 16, 128, 128),
        context=(256, 4096),
        layers=19,
        level=2,
        heads=24,
        grid=(64, 64),
        columns=(0, 256),
        more={"y": (1, 768), "guidance": (1,)},
        prediction="FLUX",
        endings={"query_norm.weight": "query_norm.scale", "key_norm.weight": "key_norm.scale"},
    ),
}
REFINER: dict[str, tuple[int, ...]] = {
    "input_blocks.0.0.weight": (384, 4, 3, 3),
    "label_emb.0.0.weight": (1536, 2560),
    "input_blocks.4.1.transformer_blocks.3.attn2.to_k.weight": (768, 1280),
    "middle_block.1.transformer_blocks.3.attn2.to_k.weight": (1536, 1280),
}
REFINER_SETTINGS = {
    **UNET,
    "model_channels": 384,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 2, 4, 4],
    "transformer_depth": [0, 0, 4, 4, 4, 4, 0, 0],
    "transformer_depth_middle": 4,
    "transformer_depth_output": [0, 0, 0, 4, 4, 4, 4, 4, 4, 0, 0, 0],
    "use_linear_in_transformer": True,
    "context_dim": 1280,
    "adm_in_channels": 2560,
    "num_classes": "sequential",
    "num_head_channels": 64,
}
