"""Every score once more by another road: the model's own forward, or the published formula written out on the raw weights."""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from distok.labelers.loading import exact
from distok.scorers import ScorerSettings, open_scorer
from distok.scorers.clip import _fitted
from distok.scorers.vqa import VqaSettings
from tests import tiny_scorers
from tests.tiny_scorers import PROMPTS, pictures


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_learned_scale_stays_what_it_is_in_half_precision(dtype, tmp_path):
    """ln 100 is 4.594 in bfloat16: every PickScore would be a percent too small."""
    clip = tiny_scorers.save_clip(tmp_path / "clip")
    weights = load_file(clip / "model.safetensors")
    save_file(weights | {"logit_scale": torch.tensor(math.log(100))}, clip / "model.safetensors", {"format": "pt"})
    half = ScorerSettings(dtype=dtype)
    scorer, cosine = (open_scorer(kind, clip, half) for kind in ("pickscore", "hpsv2"))
    cosine.tower.whole = False
    torch.testing.assert_close(scorer(pictures(), PROMPTS), 100 * cosine(pictures(), PROMPTS), rtol=1e-5, atol=1e-5)
    folder = tiny_scorers.save_open_clip(tmp_path / "open")
    stored = open_scorer("hpsv2", folder).tower.model.logit_scale.item()
    assert exact(open_scorer("hpsv2", folder, half).tower.model, "logit_scale") == stored


@torch.no_grad()
def test_clip_and_pick_scores_are_the_models_own_logits(tmp_path):
    from transformers import CLIPModel, CLIPProcessor

    folder = tiny_scorers.save_clip(tmp_path / "clip")
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    inputs = processor(text=list(PROMPTS), images=pictures(), padding=True, return_tensors="pt")
    logits = model(**inputs).logits_per_image.diagonal()
    torch.testing.assert_close(open_scorer("pickscore", folder)(pictures(), PROMPTS), logits, atol=1e-4, rtol=1e-4)
    cosines = logits / model.logit_scale.exp()
    assert (cosines > 0).all()
    torch.testing.assert_close(open_scorer("clipscore", folder)(pictures(), PROMPTS), 100 * cosines, atol=1e-4, rtol=1e-4)


def test_clipscore_is_never_negative_and_pickscore_may_be(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tiny_scorers.save_clip(tmp_path / "clip")
    tensors = load_file(folder / "model.safetensors")
    tensors["visual_projection.weight"] *= -1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert open_scorer("clipscore", folder)(pictures(), PROMPTS).tolist() == [0.0] * 4
    assert (open_scorer("pickscore", folder)(pictures(), PROMPTS) < 0).all()


class TestHps:
    @torch.no_grad()
    def test_the_cosine_of_open_clips_forward_on_the_raw_weights(self, tmp_path):
        """open_clip's CLIP written out: pre-norm blocks of nn.MultiheadAttention and GELU, pooled at class and end of text."""
        scorer = open_scorer("hpsv2", tiny_scorers.save_open_clip(tmp_path / "hps"))
        tensors = tiny_scorers.open_clip_tensors()
        images = [tiny_fit(picture) for picture in pictures()]
        x = F.conv2d(torch.stack(images), tensors["visual.conv1.weight"], stride=8).flatten(2).transpose(1, 2)
        x = torch.cat([tensors["visual.class_embedding"].expand(4, 1, -1), x], 1) + tensors["visual.positional_embedding"]
        x = blocks(norm(x, tensors, "visual.ln_pre"), tensors, "visual.", heads=4)
        seen = norm(x[:, 0], tensors, "visual.ln_post") @ tensors["visual.proj"]
        tokens = tiny_scorers.tiny.tokenizer()
        for row, prompt in enumerate(PROMPTS):
            ids = torch.tensor(tokens(prompt)["input_ids"])
            y = tensors["token_embedding.weight"][ids] + tensors["positional_embedding"][: len(ids)]
            mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)
            y = norm(blocks(y[None], tensors, "", heads=3, mask=mask), tensors, "ln_final")[0, -1] @ tensors["text_projection"]
            wanted = F.cosine_similarity(seen[row], y, dim=0)
            torch.testing.assert_close(scorer([pictures()[row]], prompt)[0], wanted, atol=1e-5, rtol=1e-4)

    def test_a_converted_clip_model_scores_as_its_source(self, tmp_path):
        source = open_scorer("hpsv2", tiny_scorers.save_open_clip(tmp_path / "hps"))
        folder = tmp_path / "converted"
        for part in (source.tower.model, source.tower.tokenizer, source.tower.images):
            part.save_pretrained(folder)
        torch.testing.assert_close(open_scorer("hpsv2", folder)(pictures(), PROMPTS), source(pictures(), PROMPTS))

    def test_a_picture_is_centred_as_published(self):
        """An odd rest is padded on the right: torchvision's pad of rest // 2, and what is left of it."""
        fitted = _fitted(Image.new("RGB", (101, 224), "white"), SimpleNamespace(crop_size={"height": 224}))
        (lit,) = np.nonzero(np.asarray(fitted)[:, :, 0].all(0))
        assert (fitted.size, lit[0], lit[-1]) == ((224, 224), 61, 161)

    def test_a_tall_picture_is_kept_whole(self, tmp_path):
        scorer = open_scorer("hpsv2", tiny_scorers.save_open_clip(tmp_path / "hps"))
        tall = Image.new("RGB", (16, 48), "grey")
        marked = tall.copy()
        marked.paste("red", (0, 0, 16, 12))  # outside the middle square
        assert scorer([tall], "a cat") != scorer([marked], "a cat")
        cropping = open_scorer("clipscore", tiny_scorers.save_clip(tmp_path / "clip"))
        assert cropping([tall], "a cat") == cropping([marked], "a cat")


class TestImageReward:
    @torch.no_grad()
    def test_the_published_network_written_out_on_the_published_names(self, tmp_path):
        scorer = open_scorer("imagereward", tiny_scorers.save_image_reward(tmp_path / "reward"))
        tensors = tiny_scorers.image_reward_tensors()
        tokens = tiny_scorers.bert()
        for picture, prompt in zip(pictures(), PROMPTS, strict=True):
            pixels = scorer.images(images=[picture], return_tensors="pt")["pixel_values"]
            ids = torch.tensor([tokens(prompt)["input_ids"]])  # not padded: padding must not matter
            wanted = published_reward(tensors, pixels, ids)
            torch.testing.assert_close(scorer([picture], prompt)[0], wanted, atol=1e-4, rtol=1e-4)

    def test_long_prompts_are_cut_at_35_tokens(self, tmp_path):
        scorer = open_scorer("imagereward", tiny_scorers.save_image_reward(tmp_path / "reward"))
        picture = pictures()[:1]
        # [CLS], 33 words and [SEP] are 35
        assert scorer(picture, "cat " * 33 + "dog") == scorer(picture, "cat " * 33 + "pig")
        assert scorer(picture, "cat " * 32 + "dog") != scorer(picture, "cat " * 32 + "pig")


@pytest.mark.parametrize("layout", ["linear", "mlp", "relu"])
@torch.no_grad()
def test_the_aesthetic_heads_layers_one_by_one(layout, tmp_path):
    from transformers import CLIPModel, CLIPProcessor

    folder = tiny_scorers.save_aesthetic(tmp_path / "clip", layout)
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    out = model.vision_model(**processor.image_processor(images=pictures(), return_tensors="pt"))
    x = F.normalize(model.visual_projection(out.pooler_output), dim=-1)
    tensors = tiny_scorers.aesthetic_head(layout)
    names = [name.removesuffix("weight") for name in tensors if name.endswith("weight")]
    for name in names:
        x = x @ tensors[f"{name}weight"].T + tensors[f"{name}bias"]
        x = x.relu() if layout == "relu" and name != names[-1] else x
    torch.testing.assert_close(open_scorer("aesthetic", folder)(pictures()), x[:, 0], atol=1e-3, rtol=1e-4)


class TestVqa:
    @torch.no_grad()
    def test_blip_by_its_own_loss(self, tmp_path):
        from transformers import BlipForQuestionAnswering, BlipProcessor

        folder = tiny_scorers.save_blip_vqa(tmp_path / "blip")
        model, processor = BlipForQuestionAnswering.from_pretrained(folder).eval(), BlipProcessor.from_pretrained(folder)
        scores = open_scorer("vqascore", folder)(pictures(), PROMPTS)
        both = open_scorer("vqascore", folder, vqa=VqaSettings(answer="yes please"))(pictures(), PROMPTS)
        words = processor.tokenizer.convert_tokens_to_ids(["[DEC]", "yes", "please"])
        for row, prompt in enumerate(PROMPTS):
            question = f'Does this figure show "{prompt}"? Please answer yes or no.'
            inputs = processor(images=pictures()[row], text=question, return_tensors="pt")
            for found, answer in ((scores, words[:2]), (both, words)):
                loss = model(**inputs, labels=torch.tensor([answer])).loss
                torch.testing.assert_close(found[row], torch.exp(-loss), atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("name", ["qwen", "llava", "gemma"])
    @torch.no_grad()
    def test_chat_models_by_the_scores_of_their_own_generation(self, name, tmp_path):
        folder = getattr(tiny_scorers, f"save_{name}")(tmp_path / name)
        scorer = open_scorer("vqascore", folder)
        (yes,) = scorer.pieces
        scores = scorer(pictures(), PROMPTS)
        for row, prompt in enumerate(PROMPTS):
            taken = inspect.signature(scorer.model.forward).parameters  # not mm_token_type_ids in transformers 4
            inputs = {key: value for key, value in asked(scorer, pictures()[row], prompt).items() if key in taken}
            made = scorer.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
            )
            torch.testing.assert_close(scores[row], made.logits[0].softmax(-1)[0, yes], atol=1e-5, rtol=1e-3)

    @pytest.mark.parametrize(("name", "kinds"), [("qwen", "mm_token_type_ids"), ("gemma", "token_type_ids")])
    @torch.no_grad()
    def test_an_answer_of_two_pieces_is_their_geometric_mean(self, name, kinds, tmp_path):
        folder = getattr(tiny_scorers, f"save_{name}")(tmp_path / name)
        scorer = open_scorer("vqascore", folder, vqa=VqaSettings(answer="No"))
        first, second = scorer.pieces
        lengths = []
        scorer.model.register_forward_pre_hook(
            lambda _, args, given: lengths.append({given[key].shape[1] for key in ("input_ids", "attention_mask", kinds)}),
            with_kwargs=True,
        )
        inputs = asked(scorer, pictures()[0], PROMPTS[0])
        one = scorer.model(**inputs).logits[0, -1].softmax(-1)[first]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([[first]])], 1)
        for key, value in (("attention_mask", 1), (kinds, 0)):
            inputs[key] = F.pad(inputs[key], (0, 1), value=value)
        two = scorer.model(**inputs).logits[0, -1].softmax(-1)[second]
        torch.testing.assert_close(scorer(pictures()[:1], PROMPTS[0])[0], (one * two).sqrt(), atol=1e-6, rtol=1e-3)
        assert lengths[2] == lengths[1] != lengths[0]


def asked(scorer, picture, prompt):
    text = tiny_scorers.chat(f'Does this figure show "{prompt}"? Please answer yes or no.', scorer.model.config.model_type)
    return scorer.processor(images=[picture], text=[text], padding=True, return_tensors="pt")


def tiny_fit(picture):
    """open_clip's ``resize_longest``: the longer side to 16, the rest black, CLIP's mean and deviation."""
    import numpy as np
    from PIL import Image

    scale = 16 / max(picture.size)
    small = picture.resize(tuple(round(side * scale) for side in picture.size), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (16, 16))
    square.paste(small, ((16 - small.width) // 2, (16 - small.height) // 2))
    x = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
    mean, spread = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    return (x - mean[:, None, None]) / spread[:, None, None]


def norm(x, tensors, name, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], eps)


def linear(x, tensors, name):
    return F.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def blocks(x, tensors, tower, heads, mask=None):
    for i in range(2):
        name = f"{tower}transformer.resblocks.{i}"
        attention = nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
        own = {key.removeprefix(f"{name}.attn."): value for key, value in tensors.items() if key.startswith(f"{name}.attn.")}
        attention.load_state_dict(own)
        y = norm(x, tensors, f"{name}.ln_1")
        x = x + attention(y, y, y, need_weights=False, attn_mask=mask)[0]
        x = x + linear(
            F.gelu(linear(norm(x, tensors, f"{name}.ln_2"), tensors, f"{name}.mlp.c_fc")), tensors, f"{name}.mlp.c_proj"
        )
    return x


def attend(query, key, value, heads):
    query, key, value = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def published_reward(tensors, pixels, ids):
    """BLIP's image tower, BERT with cross-attention after self-attention, five linear layers; by the published names alone."""
    eyes, reader = "blip.visual_encoder.", "blip.text_encoder."
    x = F.conv2d(pixels, tensors[f"{eyes}patch_embed.proj.weight"], tensors[f"{eyes}patch_embed.proj.bias"], stride=8)
    x = torch.cat([tensors[f"{eyes}cls_token"], x.flatten(2).transpose(1, 2)], 1) + tensors[f"{eyes}pos_embed"]
    for i in range(2):
        name = f"{eyes}blocks.{i}"
        qkv = linear(norm(x, tensors, f"{name}.norm1", 1e-6), tensors, f"{name}.attn.qkv").chunk(3, -1)
        x = x + linear(attend(*qkv, heads=1), tensors, f"{name}.attn.proj")
        y = F.gelu(linear(norm(x, tensors, f"{name}.norm2", 1e-6), tensors, f"{name}.mlp.fc1"))
        x = x + linear(y, tensors, f"{name}.mlp.fc2")
    x = norm(x, tensors, f"{eyes}norm", 1e-6)
    y = tensors[f"{reader}embeddings.word_embeddings.weight"][ids]
    y = y + tensors[f"{reader}embeddings.position_embeddings.weight"][: ids.shape[1]]
    y = norm(y, tensors, f"{reader}embeddings.LayerNorm", 1e-12)
    for i in range(2):
        name = f"{reader}encoder.layer.{i}"
        for part, source in (("attention", None), ("crossattention", x)):
            source = y if source is None else source
            query, key, value = (
                linear(each, tensors, f"{name}.{part}.self.{what}")
                for each, what in ((y, "query"), (source, "key"), (source, "value"))
            )
            z = linear(attend(query, key, value, heads=4), tensors, f"{name}.{part}.output.dense")
            y = norm(y + z, tensors, f"{name}.{part}.output.LayerNorm", 1e-12)
        z = linear(F.gelu(linear(y, tensors, f"{name}.intermediate.dense")), tensors, f"{name}.output.dense")
        y = norm(y + z, tensors, f"{name}.output.LayerNorm", 1e-12)
    h = y[:, 0]
    for number in (0, 2, 4, 6, 7):
        h = linear(h, tensors, f"mlp.layers.{number}")
    return (h[0, 0] - 0.16717362830052426) / 1.0333394966054072
