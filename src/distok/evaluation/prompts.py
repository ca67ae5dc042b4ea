"""The prompts of the evaluation, in the words of the Menagerie's captions."""

from distok.backends.prompts import PROMPT

ELSEWHERE = {  # looks for pipelines other than the Menagerie
    "watercolor": "a watercolor of a {}",
    "pencil sketch": "a pencil sketch of a {}",
    "beach": "a photo of a {} on a beach",
    "snow": "a photo of a {} in the snow",
}


def look_prompts() -> dict[str, dict[str, str]]:
    """A prompt for every style, scene and accessory: {"style": {"watercolor": "a watercolor of a {}", …}, "scene": …, …}."""
    from distok.menagerie.looks import ACCESSORIES, SCENES
    from distok.menagerie.styles import STYLES

    return {
        "style": {name: f"{style.phrase} a {{}}" for name, style in STYLES.items()},
        "scene": {name: f"{PROMPT} {scene[0]}" for name, scene in SCENES.items()},
        "accessory": {name: f"{PROMPT} {accessory[0]}" for name, accessory in ACCESSORIES.items()},
    }
