"""The prompts of the evaluation, in the words of the Menagerie's captions."""

PROMPT = "a photo of a {}"

ELSEWHERE = {  # looks for pipelines other than the Menagerie
    "watercolor": "a watercolor of a {}",
    "pencil sketch": "a pencil sketch of a {}",
    "beach": "a photo of a {} on a beach",
    "snow": "a photo of a {} in the snow",
}


def named(name: str, prompt: str = PROMPT) -> str:
    """Put a class name where ``prompt`` says ``{}``, with the article that English wants before it."""
    vowel = name[:1].lower() in tuple("aeiou") and not name.lower().startswith("uni")
    return (prompt.replace("a {}", "an {}") if vowel else prompt).replace("{}", name)


def look_prompts() -> dict[str, dict[str, str]]:
    """A prompt for every style, scene and accessory: {"style": {"watercolor": "a watercolor of a {}", …}, "scene": …, …}."""
    from distok.menagerie.scenery import ACCESSORIES, SCENES
    from distok.menagerie.styles import STYLES

    return {
        "style": {name: f"{style.phrase} a {{}}" for name, style in STYLES.items()},
        "scene": {name: f"{PROMPT} {scene[0]}" for name, scene in SCENES.items()},
        "accessory": {name: f"{PROMPT} {accessory[0]}" for name, accessory in ACCESSORIES.items()},
    }
