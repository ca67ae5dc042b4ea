"""Tiny random checkpoints of every big pipeline family, of the very classes that the real ones are saved with."""

from pathlib import Path

import torch

from tests import tiny

WIDTH = 32


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """A pipeline folder of a family: sd1, sd2, sdxl, sd3, sd3-without-t5, flux, kandinsky21, kandinsky22."""
    with torch.random.fork_rng(devices=[]):
        pipe = tiny.drawn_pipeline(BUILD[family](), seed)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.save_pretrained(folder)
    return folder


def _clip(tokens, projected: bool = False, width: int = WIDTH, length: int = 77, **changes):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = tiny.text_config(tokens, width=width, length=length, **{"projection_dim": width, **changes})
    cls = CLIPTextModelWithProjection if projected else CLIPTextModel
    return cls(CLIPTextConfig(**config))


def _t5_tokenizer():
    from transformers import T5TokenizerFast

    return unigram(T5TokenizerFast, ["<pad>", "</s>", "<unk>"], "$A </s>", extra_ids=0)


def unigram(cls, special: list[str], template: str, last: tuple[str, ...] = (), words: tuple[str, ...] = tiny.WORDS, **options):
    """A sentencepiece-like tokenizer of words and letters, from a ``tokenizer.json``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    pieces = [*special, *("▁" + word for word in words), "▁", *"abcdefghijklmnopqrstuvwxyz<>_"]
    pieces = [*dict.fromkeys(pieces), *last]
    tokens = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=pieces.index("<unk>")))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokens.add_special_tokens([*special, *last])
    ends = [(piece, pieces.index(piece)) for piece in special if piece in template]
    tokens.post_processor = processors.TemplateProcessing(single=template, special_tokens=ends)
    return tiny.tokenizer_of_files(cls, {"tokenizer.json": tokens.to_str()}, **options)


def _t5(tokens, width: int):
    from transformers import T5Config, T5EncoderModel

    padded = len(tokens) + 7  # the real table has more rows than the tokenizer has ids
    return T5EncoderModel(T5Config(vocab_size=padded, d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4))


def _vae(latents: int = 4, **changes):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32), in_channels=3, out_channels=3, latent_channels=latents, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, sample_size=32, **changes,
    )  # fmt: skip


def _sd1():
    return tiny.pipeline(length=77)


def _sd2():
    """Stable Diffusion 2: velocity prediction and a wider text encoder with gelu."""
    from diffusers import DDIMScheduler

    pipe = tiny.pipeline(width=48, length=77, layers=3, hidden_act="gelu")
    pipe.register_modules(scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False, steps_offset=1))
    return pipe


def _sdxl():
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    first, second = tiny.tokenizer(77), tiny.tokenizer(77)
    second.pad_token = "!"
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2), projection_class_embeddings_input_dim=8 * 6 + 48, cross_attention_dim=80,
    )  # fmt: skip
    return StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=_clip(first), text_encoder_2=_clip(second, True, 48), tokenizer=first, tokenizer_2=second,
        unet=unet, scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"),
        add_watermarker=False,
    )  # fmt: skip


def _sd3(with_t5: bool = True):
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    first, second, third = tiny.tokenizer(77), tiny.tokenizer(77), _t5_tokenizer()
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=1, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4, out_channels=4,
        caption_projection_dim=32, joint_attention_dim=80, pooled_projection_dim=80, pos_embed_max_size=32,
    )  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=_clip(first, True), tokenizer=first, text_encoder_2=_clip(second, True, 48), tokenizer_2=second,
        text_encoder_3=_t5(third, 80) if with_t5 else None, tokenizer_3=third if with_t5 else None,
    )  # fmt: skip


def _flux():
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    first, second = tiny.tokenizer(77), _t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=40, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer, text_encoder=_clip(first), tokenizer=first,
        vae=_vae(1, shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder_2=_t5(second, 40), tokenizer_2=second,
    )  # fmt: skip


def _prior_parts(cls):
    from diffusers import PriorTransformer, UnCLIPScheduler
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    tokens = tiny.tokenizer(77)
    prior = PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=WIDTH, num_layers=1)
    prior.clip_std = torch.nn.Parameter(torch.ones_like(prior.clip_std))  # zeros at first: every embedding would be the mean
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=37, projection_dim=WIDTH, num_hidden_layers=2, num_attention_heads=4, image_size=16,
        patch_size=8,
    )  # fmt: skip
    schedule = {"variance_type": "fixed_small_log", "prediction_type": "sample", "clip_sample": True, "clip_sample_range": 10.0}
    return cls(
        prior=prior, image_encoder=CLIPVisionModelWithProjection(vision), text_encoder=_clip(tokens, True), tokenizer=tokens,
        scheduler=UnCLIPScheduler(num_train_timesteps=1000, **schedule),
        image_processor=CLIPImageProcessor(crop_size=16, size=16),
    )  # fmt: skip


def _decoder_parts(kind: str):
    from diffusers import DDIMScheduler, UNet2DConditionModel, VQModel

    hidden = 40 if kind == "text_image" else WIDTH  # of the multilingual encoder, or of the picture's embedding
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=8, addition_embed_type=kind,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), block_out_channels=(32, 64),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        layers_per_block=1, encoder_hid_dim=hidden, encoder_hid_dim_type=f"{kind}_proj", cross_attention_dim=WIDTH,
        attention_head_dim=4, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    movq = VQModel(
        block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"), in_channels=3,
        latent_channels=4, layers_per_block=1, norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12, out_channels=3,
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"), vq_embed_dim=4,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    return {"unet": unet, "movq": movq, "scheduler": scheduler}


def _multilingual():
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
    from transformers import XLMRobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokens = unigram(XLMRobertaTokenizerFast, special, "<s> $A </s>", ("<mask>",), model_max_length=77)
    config = MCLIPConfig(
        numDims=WIDTH, transformerDimensions=40, hidden_size=40, intermediate_size=37, num_attention_heads=4,
        num_hidden_layers=2, vocab_size=len(tokens) + 5, max_position_embeddings=80,
    )  # fmt: skip
    config.numDims, config.transformerDimensions = WIDTH, 40
    return {"text_encoder": MultilingualCLIP(config), "tokenizer": tokens}


def kandinsky_parts(version: str):
    """The decoder's and the prior's pipelines of Kandinsky 2.1 or 2.2."""
    import diffusers

    if version == "2.1":
        prior = _prior_parts(diffusers.KandinskyPriorPipeline)
        return diffusers.KandinskyPipeline(**_decoder_parts("text_image"), **_multilingual()), prior
    prior = _prior_parts(diffusers.KandinskyV22PriorPipeline)
    return diffusers.KandinskyV22Pipeline(**_decoder_parts("image")), prior


def _kandinsky(version: str):
    import diffusers

    decoder, prior = kandinsky_parts(version)
    cls = diffusers.KandinskyCombinedPipeline if version == "2.1" else diffusers.KandinskyV22CombinedPipeline
    return cls(**decoder.components, **{f"prior_{name}": part for name, part in prior.components.items()})


BUILD = {
    "sd1": _sd1,
    "sd2": _sd2,
    "sdxl": _sdxl,
    "sd3": _sd3,
    "sd3-without-t5": lambda: _sd3(with_t5=False),
    "flux": _flux,
    "kandinsky21": lambda: _kandinsky("2.1"),
    "kandinsky22": lambda: _kandinsky("2.2"),
}
