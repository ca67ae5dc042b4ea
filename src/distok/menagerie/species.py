"""The 60 species of the Menagerie: one row each, twelve zones, every zone telling.

A zone is written "shape main-colour second-colour"; the torso is "shape/coat main second". Shapes are defined in
``parts_head``, ``parts_crown`` and ``parts_body``, colours in ``palette``. Two species never share a zone's
shape and colours, so that the parent of every zone of a chimera can be read back from the picture.
"""

# fmt: off
from dataclasses import dataclass
from functools import cache

from distok.menagerie.palette import PALETTE, Colour

ZONES = ("head", "mask", "eyes", "snout", "mouth", "ears", "crown", "torso", "belly", "arms", "legs", "rear")


@dataclass(frozen=True, slots=True)
class Part:
    """One zone of one species: a shape (and a coat, for the torso) in two colours."""

    shape: str
    main: Colour
    second: Colour
    coat: str = "plain"


@dataclass(frozen=True, slots=True)
class Species:
    """A name, a build (scale of head and of body, interpolated in chimeras) and one :class:`Part` for each zone."""

    name: str
    head_scale: float
    body_scale: float
    parts: dict[str, Part]


# name       head body | head           mask               eyes               snout                mouth            ears                    crown                    torso                          belly                arms                     legs                      rear
_ROWS = """
pig        1.02 1.08 | wide pink       ; blush rose          ; dot ink            ; disc rose           ; smile crimson      ; flap pink rose         ; curl rose                ; round/plain pink              ; big blush            ; hoof pink mauve          ; cloven pink mauve         ; curl rose
sheep      0.98 1.10 | round charcoal  ; blaze ivory         ; lash ink           ; button charcoal ivory; cheeky rose       ; curls ivory charcoal   ; bobble ivory cream       ; round/wool ivory sand         ; ring sand            ; muff ivory charcoal      ; stub charcoal black       ; puff ivory sand
cow        1.06 1.06 | square white    ; patch black         ; lash cocoa         ; wide pink mauve     ; tongue rose        ; spear white pink       ; horns sand cocoa         ; barrel/patches white black    ; low pink             ; hoof white black         ; hoof white black          ; tassel white black
horse      1.02 1.02 | long chestnut   ; stripe cream        ; lash navy          ; long caramel cocoa  ; buck cream         ; tall chestnut caramel  ; forelock black           ; chest/plain chestnut cocoa    ; split caramel cocoa  ; cuff chestnut white      ; sock chestnut white       ; horse black charcoal
goat       0.96 0.98 | pear silver     ; tears charcoal      ; bar amber          ; button silver charcoal; beard white      ; side silver pink       ; backhorns sand cocoa     ; slim/shaggy silver grey       ; tuft white           ; banded silver charcoal   ; hoof silver charcoal      ; deer silver white
dog        1.04 1.00 | square tan      ; patch cocoa         ; iris brown         ; muzzle cream ink    ; tongue coral       ; floppy cocoa brown     ; tuft tan                 ; round/saddle tan cocoa        ; oval cream           ; paw tan                  ; paw tan cream             ; thin tan
cat        1.00 0.94 | wedge orange    ; chevron rust        ; slit lime          ; button cream rose   ; whiskers white     ; pointed orange pink    ; peak rust orange         ; slim/zigzag orange rust       ; oval ivory           ; cuff orange cream        ; sock orange cream         ; thin orange
rabbit     0.98 0.96 | drop lilac      ; cheeks blush        ; dot crimson        ; pad white rose      ; buck white         ; long lilac pink        ; tuft white               ; egg/plain lilac               ; big white            ; paw lilac                ; long lilac pink           ; puff white lilac
mouse      0.92 0.86 | drop grey       ; blush pink          ; bead plum          ; point grey pink     ; buck lemon         ; biground grey pink     ; swirl grey               ; pear/plain grey               ; oval silver          ; paw grey                 ; stub pink rose            ; prehensile pink
hamster    1.04 1.00 | pear gold       ; cheeks cream        ; bead black         ; button cream coral  ; cheeky peach       ; round gold coral       ; leaf gold cream          ; round/trousers gold cream     ; target white gold    ; muff gold cream          ; stub coral peach          ; stump cream gold
fox        1.00 0.96 | wedge rust      ; jaw white           ; almond amber       ; point white ink     ; fangs white rust   ; tall rust black        ; fringe rust              ; chest/plain rust              ; bib white            ; cuff rust black          ; sock rust black           ; bushy rust white
wolf       1.04 1.04 | wedge slate     ; face silver         ; almond sky         ; long silver ink     ; fangs white ink    ; ruff slate silver      ; mohawk charcoal slate    ; chest/shaggy slate charcoal   ; tuft silver          ; claw slate ink           ; claw slate ink            ; bushy slate charcoal
bear       1.08 1.12 | round brown     ; brow cocoa          ; dot black          ; muzzle tan cocoa    ; grin crimson       ; round brown tan        ; nub tan brown            ; barrel/plain brown            ; moon cream           ; claw brown cream         ; pillar brown cream        ; stump brown tan
panda      1.06 1.08 | round white     ; patches black       ; iris cocoa         ; muzzle white black  ; smile ink          ; round black charcoal   ; bumps black charcoal     ; round/yoke white black        ; low silver           ; paw black                ; big black charcoal        ; stump black white
koala      1.08 1.00 | bean steel      ; cheeks silver       ; dot cocoa          ; nose charcoal       ; lips slate         ; biground steel white   ; tuft silver              ; pear/plain steel              ; bib silver           ; long steel charcoal      ; claw steel charcoal       ; puff steel silver
lion       1.00 1.02 | round gold      ; face cream          ; almond brown       ; muzzle cream chestnut; fangs white cocoa ; mane chestnut gold     ; swirl chestnut           ; chest/plain gold              ; tuft chestnut        ; claw gold chestnut       ; paw gold cream            ; tassel gold chestnut
tiger      1.04 1.04 | round orange    ; tiger black         ; slit amber         ; muzzle white rose   ; whiskers black     ; round orange white     ; ridge black              ; barrel/stripes orange black   ; split white orange   ; banded orange black      ; banded orange black       ; stripes orange black
leopard    1.00 1.00 | pear amber      ; rosettes cocoa      ; slit mint          ; muzzle lemon cocoa  ; whiskers cocoa     ; round amber cocoa      ; peak cocoa amber         ; slim/rosettes amber cocoa     ; speckled cream cocoa ; spotted amber cocoa      ; spotted amber cocoa       ; spotted amber cocoa
elephant   1.06 1.12 | round slate     ; brow silver         ; sleepy slate       ; trunk slate charcoal; tusks ivory        ; elephant slate pink    ; quills charcoal          ; barrel/ribs slate steel       ; big steel            ; hoof slate ivory         ; pillar slate ivory        ; tassel slate charcoal
rhino      1.04 1.12 | long grey       ; rings charcoal      ; bead charcoal      ; horned grey ivory   ; lips grey          ; tall grey mauve        ; bumps grey charcoal      ; block/saddle grey charcoal    ; plates silver grey   ; flat grey ivory          ; pillar grey charcoal      ; thin grey
hippo      1.08 1.14 | pear mauve      ; freckles plum       ; stalk mauve        ; wide mauve plum     ; tusks cream        ; drum mauve rose        ; ridge plum               ; barrel/warts mauve plum       ; big pink             ; flat mauve plum          ; pillar mauve pink         ; paddle mauve plum
giraffe    0.96 0.96 | long amber      ; plates caramel      ; lash forest        ; long cream caramel  ; lips caramel       ; side amber cream       ; ossicones amber cocoa    ; slim/tiles amber caramel      ; stripe cream         ; spotted amber caramel    ; hoof amber caramel        ; tassel amber cocoa
zebra      1.00 0.98 | long white      ; zebra black         ; lash black         ; long charcoal black ; grin pink          ; tall white black       ; mohawk black white       ; round/bands white black       ; stripe black         ; banded white black       ; banded white black        ; scroll white black
deer       0.96 0.94 | drop caramel    ; spots cream         ; lash chestnut      ; button white ink    ; smile cocoa        ; side caramel cream     ; antlers cocoa            ; egg/spots caramel cream       ; speckled cream caramel ; hoof caramel cocoa       ; cloven caramel cocoa      ; deer caramel white
moose      1.04 1.08 | long cocoa      ; jaw brown           ; sleepy brown       ; wide brown cocoa    ; wattle cocoa       ; side cocoa tan         ; palms sand               ; chest/shaggy cocoa ink        ; tuft brown           ; banded cocoa sand        ; cloven cocoa sand         ; stump cocoa brown
camel      0.98 1.02 | pear sand       ; rings caramel       ; sleepy sand        ; pad sand cocoa      ; lips cocoa         ; round sand caramel     ; topknot caramel sand     ; egg/shaggy sand caramel       ; diamond caramel      ; cuff sand caramel        ; cloven sand caramel       ; hump sand caramel
llama      0.96 1.00 | tall cream      ; bars coral          ; lash indigo        ; pad white ink       ; cheeky coral       ; tall cream coral       ; fringe cream             ; egg/saddle cream magenta      ; diamond turquoise    ; muff cream turquoise     ; sock cream magenta        ; puff cream magenta
monkey     1.02 0.94 | round cocoa     ; face peach          ; iris amber         ; siphon peach        ; grin coral         ; biground peach coral   ; tuft cocoa               ; slim/plain cocoa              ; heart peach          ; long cocoa peach         ; big peach coral           ; prehensile cocoa
gorilla    1.04 1.14 | tall black      ; face charcoal       ; stern amber cocoa  ; nose black          ; grin cream         ; holes charcoal slate   ; peak charcoal black      ; chest/flanks black silver     ; heart slate          ; long black slate         ; big slate charcoal        ; cloak charcoal black
sloth      1.00 1.00 | bean sand       ; tears brown         ; sleepy cocoa       ; button brown ink    ; smile brown        ; puffs sand brown       ; fringe olive             ; pear/shaggy brown olive       ; speckled sand olive  ; claw brown ivory         ; claw brown ivory          ; cloak brown olive
raccoon    1.02 0.98 | wedge grey      ; bandit black        ; iris ink           ; point silver ink    ; whiskers silver    ; pointed grey white     ; mohawk grey black        ; pear/flanks grey charcoal     ; oval white           ; cuff grey black          ; sock grey black           ; ringed grey black
skunk      0.96 0.96 | drop black      ; stripe white        ; dot plum           ; point black pink    ; smile rose         ; round black pink       ; mohawk white black       ; egg/pins black white          ; stripe white         ; cuff black white         ; sock black white          ; striped black white
squirrel   0.96 0.90 | drop rust       ; rings cream         ; dot forest         ; pad cream cocoa     ; buck ivory         ; tuft rust cream        ; leaf rust green          ; egg/flanks rust chestnut      ; tuft cream           ; paw rust                 ; long rust cream           ; scroll rust caramel
beaver     1.00 1.04 | square cocoa    ; cheeks tan          ; bead rust          ; pad tan ink         ; buck amber         ; round cocoa caramel    ; cap cocoa                ; barrel/shaggy cocoa caramel   ; big caramel          ; web cocoa charcoal       ; web charcoal black        ; paddle charcoal slate
hedgehog   0.94 1.00 | drop cream      ; blush coral         ; bead cocoa         ; point cream black   ; smile coral        ; spines cocoa tan       ; quills cocoa             ; round/feathers cocoa cream    ; oval peach           ; stick cream cocoa        ; stub peach tan            ; spines cocoa
bat        1.00 0.90 | wedge indigo    ; face lilac          ; bead lemon         ; leaf mauve          ; fangs white plum   ; bat indigo magenta     ; bumps indigo lilac       ; slim/feathers indigo navy     ; heart lilac          ; batwing navy lilac       ; talon indigo lilac        ; batwings navy indigo
kangaroo   0.96 1.04 | drop coral      ; freckles chestnut   ; lash olive         ; muzzle blush chestnut; lips chestnut     ; tall coral blush       ; swirl coral              ; pear/plain coral              ; pouch blush chestnut ; claw coral chestnut      ; long coral chestnut       ; croc coral chestnut
walrus     1.06 1.14 | wide chestnut   ; brow cream          ; bead slate         ; pad caramel ink     ; longtusks ivory    ; holes chestnut cocoa   ; cap chestnut             ; barrel/ribs chestnut cocoa    ; low caramel          ; flipper chestnut         ; flipper chestnut cocoa    ; fluke chestnut cocoa
chicken    0.94 1.00 | round ivory     ; blush red           ; dot amber          ; beak amber          ; wattle red         ; plume ivory red        ; comb red                 ; egg/feathers ivory sand       ; moon sand            ; wing ivory sand          ; bird amber ivory          ; sickle ivory red
duck       1.00 1.00 | round forest    ; jaw lemon           ; bead amber         ; bill amber orange   ; collar white       ; plume forest mint      ; swirl forest             ; round/scales tan brown        ; bib chestnut         ; wing tan blue            ; web orange rust           ; fan tan blue
penguin    1.00 1.06 | round navy      ; discs white amber   ; iris navy          ; beak orange         ; collar amber       ; drum amber navy        ; cap navy                 ; egg/plain navy                ; big ivory            ; flipper navy             ; web amber orange          ; stump navy white
owl        1.08 0.98 | wide brown      ; discs sand brown    ; big amber          ; beak charcoal       ; drop tan           ; tuft brown sand        ; plumes brown sand        ; egg/feathers brown cocoa      ; barred sand brown    ; wing brown sand          ; talon brown amber         ; fan brown sand
parrot     0.98 0.94 | drop red        ; discs white blue    ; iris lemon         ; hook cream charcoal ; drop blue          ; plume red yellow       ; crest yellow             ; slim/yoke red yellow          ; moon blue            ; wing blue yellow         ; talon red slate           ; plume blue red
flamingo   0.92 0.92 | tall rose       ; blush magenta       ; bead gold          ; bent blush ink      ; collar rose        ; puffs rose blush       ; plumes magenta rose      ; egg/feathers rose magenta     ; bib blush            ; wing rose magenta        ; bird magenta rose         ; plume rose magenta
toucan     1.00 0.96 | round black     ; discs yellow orange ; bead turquoise     ; banana orange red   ; collar red         ; drum yellow black      ; peak yellow black        ; egg/yoke black yellow         ; bib yellow           ; wing black red           ; bird turquoise black      ; fan black red
peacock    0.90 0.96 | tall blue       ; brow white          ; almond teal        ; beak silver         ; drop turquoise     ; plume blue gold        ; fan teal turquoise       ; egg/scales blue teal          ; barred teal gold     ; wing teal gold           ; bird silver teal          ; peacock teal gold
frog       1.04 1.00 | wide green      ; spots forest        ; stalk green        ; flat forest         ; tongue red         ; drum lime forest       ; bumps lime green         ; round/dots green forest       ; big lemon            ; web green lime           ; web green lime            ; stump green lime
turtle     0.94 1.06 | round lime      ; plates olive        ; sleepy lime        ; flat olive          ; smile olive        ; holes olive lime       ; ridge olive              ; round/tiles olive lime        ; plates lemon olive   ; flipper lime             ; pillar lime olive         ; shell olive cocoa
snake      1.00 1.00 | wedge lime      ; scales forest       ; slit yellow        ; flat plum           ; forked red         ; cobra lime yellow      ; nub yellow lime          ; coil/scales lime forest       ; plates yellow lime   ; tentacle lime yellow     ; coil lime forest          ; rattle lime amber
crocodile  1.06 1.04 | square forest   ; scales olive        ; stalk forest       ; gator forest olive  ; teeth white        ; fin forest lime        ; ridge forest             ; block/scales forest olive     ; plates mint forest   ; claw forest ivory        ; claw forest ivory         ; croc forest olive
chameleon  1.00 0.96 | drop teal       ; bars lime           ; turret teal yellow ; flat navy           ; curled magenta     ; frill teal lime        ; dorsal lime              ; pear/bands teal lime          ; stripe yellow        ; banded teal lime         ; banded teal yellow        ; prehensile teal
axolotl    1.06 0.96 | wide blush      ; freckles magenta    ; dot magenta        ; flat magenta        ; grin magenta       ; gills blush magenta    ; nub magenta blush        ; pear/spots blush magenta      ; oval rose            ; web blush rose           ; stub blush magenta        ; fluke blush rose
shark      1.04 1.02 | wedge steel     ; gill navy           ; bead ink           ; flat ink            ; teeth ivory        ; fin steel navy         ; dorsal steel             ; chest/flanks steel navy       ; big silver           ; fin steel navy           ; fluke steel               ; fish steel navy
whale      1.12 1.14 | wide blue       ; jaw sky             ; dot navy           ; flat sky            ; baleen white navy  ; holes blue sky         ; spray sky                ; barrel/dots blue sky          ; plates white sky     ; flipper blue             ; fluke blue                ; fluke blue sky
octopus    1.14 0.92 | drop violet     ; rosettes magenta    ; bar lemon          ; siphon plum         ; lips magenta       ; fronds violet magenta  ; bobble violet magenta    ; slim/dots violet magenta      ; buttons lilac        ; tentacle violet lilac    ; tentacles violet lilac    ; arms violet lilac
crab       1.00 1.02 | wide red        ; chevron crimson     ; turret red white   ; siphon crimson      ; mandibles coral    ; fin red crimson        ; spikes crimson           ; block/warts red crimson       ; split coral crimson  ; pincer red coral         ; sticks red crimson        ; carapace red crimson
bee        1.00 0.94 | round yellow    ; halves amber        ; compound black     ; siphon black        ; smile black        ; puffs yellow black     ; antennae black yellow    ; egg/bands yellow black        ; heart amber          ; stick black yellow       ; sticks black yellow       ; glasswings sky white
ladybug    0.98 1.02 | round ink       ; cheeks white        ; compound white     ; siphon red          ; mandibles red      ; holes red white        ; antennae ink red         ; round/dots red ink            ; stripe ink           ; stick ink red            ; sticks ink red            ; elytra red ink
dragon     1.04 1.06 | square crimson  ; star amber          ; slit gold          ; gator crimson amber ; fangs ivory amber  ; ruff crimson amber     ; horns amber crimson      ; chest/scales crimson amber    ; plates amber gold    ; claw crimson amber       ; talon crimson amber       ; batwings crimson amber
unicorn    1.00 0.98 | long lilac      ; star magenta        ; lash violet        ; pad blush violet    ; cheeky magenta     ; spear lilac turquoise  ; unihorn gold magenta     ; chest/diamonds lilac turquoise; star turquoise       ; cuff lilac turquoise     ; sock lilac turquoise      ; scroll magenta turquoise
"""


def _part(zone: str, text: str) -> Part:
    shape, *colours = text.split()
    shape, _, coat = shape.partition("/")
    main = PALETTE[colours[0]]
    second = PALETTE[colours[1]] if len(colours) > 1 else main
    return Part(shape, main, second, coat or "plain")


@cache
def all_species() -> dict[str, Species]:
    """Return the 60 species by name, in the table's order."""
    table = {}
    for line in _ROWS.strip().splitlines():
        start, rest = line.split("|")
        name, head, body = start.split()
        cells = [cell.strip() for cell in rest.split(";")]
        parts = {zone: _part(zone, cell) for zone, cell in zip(ZONES, cells, strict=True)}
        table[name] = Species(name, float(head), float(body), parts)
    return table


NAMES: tuple[str, ...] = tuple(all_species())
