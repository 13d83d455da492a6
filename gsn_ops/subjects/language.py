"""Is a prompt in another language than English? By its script, or by small words in Latin letters."""

from __future__ import annotations

import re
from collections import Counter

from .image_words import IMAGE_NOUNS, IMAGE_VERBS, REQUESTS, SKIPPED_TAGS, STYLE_HEADS, STYLE_WORDS, TEMPLATES
from .matching import split_words
from .readable_text import readable
from .thing_words import CLOTHES, MEASURES, NOT_THINGS, PARTS, PERSONS, PLACES
from .word_lists import ADJECTIVES, COLOURS, COMPOUNDS, FUNCTION_WORDS, MATERIALS, words_of

SCRIPTS = (
    ("Japanese", "[\u3040-\u30ff]"),
    ("Chinese", "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"),
    ("Korean", "[\uac00-\ud7af\u1100-\u11ff]"),
    ("a language in Cyrillic letters", "[\u0400-\u04ff]"),
    ("Greek", "[\u0370-\u03ff\u1f00-\u1fff]"),
    ("Arabic or Persian", "[\u0600-\u06ff]"),
    ("Hebrew", "[\u0590-\u05ff]"),
    ("Thai", "[\u0e00-\u0e7f]"),
    ("an Indian language", "[\u0900-\u0dff]"),
)
"""(name, its letters), of which a third of a prompt's letters is enough."""
LATIN = {
    "German": words_of(
        "der das ein eine einen einem einer eines und mit auf dem den des im am zum zur bei unter neben "
        "ist sind hinter zwischen frau madchen junge kind hund katze katzen hunde vogel haus baum berg "
        "wald strasse stadt himmel blume blumen rot rote roter rotes roten blau blaue blauer blaues "
        "blauen grun grune gruner grunes grunen gelb gelbe gelber gelbes gelben schwarz schwarze "
        "schwarzer schwarzen schwarzes weiss weisse weisser weissen weisses braune brauner graue grauer "
        "kleine kleiner kleines kleinen grosse grosser grosses grossen alte alter altes alten junger "
        "schone schoner fuchs pferd tisch stuhl apfel auto wagen fahrrad trager bild eines vor nacht "
        "sonne mond wasser meer kleid schuhe hut tragt steht sitzt sieht spielt lauft fliegt liegt"
    ),
    "French": words_of(
        "le la les un une des du au aux dans sur avec et est sont sous chez pour par qui homme fille "
        "garcon enfant chien chats chienne chiens oiseau maison arbre montagne foret ville ciel fleur "
        "fleurs noir noire rouge rouges bleu bleue verte vert jaune blanc blanche gris grise petit "
        "petite grand grande vieux vieille belle robe chapeau cheval voiture bateau mer lune soleil nuit "
        "devant derriere entre assis assise portant tenant pomme tasse chaise bord ses leur deux trois "
        "dans l'eau eau deux jeune portrait-de"
    ),
    "Spanish": words_of(
        "el los las una unos unas del y en por para sobre bajo junto es son entre detras delante mujer "
        "hombre nina perro gato gata pajaro arbol montana bosque ciudad cielo flor flores negro negra "
        "rojo roja azul verde amarillo amarilla blanco blanca pequeno pequena grande viejo vieja "
        "sombrero-de caballo coche barco mar luna noche mesa silla manzana vestido sentado sentada lleva "
        "comiendo jugando tres libro playa de calle retrato muy su sus un taza joven hermosa"
    ),
    "Italian": words_of(
        "il lo gli della delle dello dei nel nella nelle sul sulla di che una uno un e accanto sotto "
        "sopra donna uomo ragazza ragazzo bambina bambino cane gatto uccello albero montagna bosco citta "
        "cielo fiore fiori nero nera rosso rossa blu verde giallo gialla bianco bianca piccolo piccola "
        "vecchio vecchia cavallo macchina barca mare luna sole notte tavolo sedia mela vestito davanti "
        "dietro tra seduto seduta prato tazza giovane bella spiaggia casa"
    ),
    "Portuguese": words_of(
        "um uma uns umas das no na nos nas em com por para ao e do da ela ele mulher homem menina menino "
        "cachorro gato passaro arvore montanha floresta cidade ceu flor flores preto preta vermelho "
        "vermelha azul verde amarelo amarela branco branca pequeno pequena velho velha chapeu cavalo "
        "carro barco mar lua noite mesa cadeira maca vestido sentado sentada jovem bonita praia sobre "
        "ao-lado segurando usando"
    ),
    "Dutch": words_of(
        "de het een en met op van naast onder bij voor achter tussen zijn vrouw meisje jongen kind hond "
        "kat vogel huis boom berg bos stad lucht bloem bloemen rode rood blauwe blauw groene groen gele "
        "geel zwarte zwart witte wit kleine grote oude jonge mooie paard fiets tafel stoel appel zee "
        "maan zon nacht muur jurk hoed tegen aan in-de"
    ),
    "a Scandinavian language": words_of(
        "en ett et och og med pa under ved hos bredvid ved-siden mellan mellom til som av den det kvinna "
        "kvinne kvinde mann flicka jente pige pojke gutt dreng barn hund katt kat fugl fagel hus trad "
        "tre fjell skog himmel blomma blomst rod rodt roda svart hvit vit hvid gronn gron bla gul liten "
        "lille gammel gammal stor hest hast bil bat bord stol eple apple-tre sjo mane natt hytte hatt "
        "soffa sitter star holder"
    ),
    "Polish or Czech": words_of(
        "i w z na pod przy obok nad ze oraz jest czerwony czerwona czerwone niebieski niebieska zielony "
        "zielona zielone zolty czarny czarna czarne bialy biala biale maly mala duzy duza stary stara "
        "kobieta mezczyzna dziewczyna dziewczynka chlopiec pies kot ptak dom drzewo gora las miasto "
        "niebo kwiat kwiaty kon samochod zena muz divka chlapec kocka strom cerveny cervena modry modra "
        "zeleny zelena cerny cerna bily bila se ve u a-pes krzesle stole trawie"
    ),
    "Turkish": words_of(
        "bir ve ile icin uzerinde altinda yaninda olan kadin adam kiz erkek cocuk kopek kedi kus ev agac "
        "orman sehir gokyuzu cicek kirmizi mavi yesil sari siyah beyaz kucuk buyuk eski guzel at-araba "
        "araba deniz ay gunes gece masa sandalye elma elbise sapka"
    ),
    "Indonesian or Malay": words_of(
        "yang dan di dengan dari untuk seorang sebuah seekor wanita pria gadis anak laki anjing kucing "
        "burung rumah pohon gunung hutan kota langit bunga merah biru hijau kuning hitam putih kecil "
        "besar tua muda cantik kuda mobil laut bulan matahari malam meja kursi duduk memakai"
    ),
    "Hungarian, Finnish or Romanian": words_of(
        "egy es az kutya macska madar haz fa piros kek zold fekete feher kis nagy ja koira kissa lintu "
        "talo puu punainen sininen vihrea musta valkoinen pieni suuri nainen mies tytto poika si cu pe "
        "langa sub un-caine caine pisica pasare copac rosu rosie albastru albastra verde negru neagra "
        "alb alba femeie barbat"
    ),
    "Vietnamese": words_of(
        "mot va cua tren voi trong co-gai chu cho meo chim nha cay nui mau xanh trang den vang nho lon dang"
    ),
}
ENGLISH = frozenset(
    word
    for words in (
        FUNCTION_WORDS - {"en"},
        COLOURS,
        MATERIALS,
        ADJECTIVES,
        IMAGE_NOUNS,
        IMAGE_VERBS,
        REQUESTS,
        STYLE_HEADS,
        STYLE_WORDS,
        TEMPLATES,
        CLOTHES,
        MEASURES,
        NOT_THINGS,
        PARTS,
        PERSONS,
        PLACES,
    )
    for word in words
) | {word for phrase in SKIPPED_TAGS | COMPOUNDS for word in phrase.split()}
NOT_TELLING = words_of(
    "a an in on at is man die hat was as so no me do i am had has kind art arm bath pan pot"
)
"""English words that are common in other languages too, or the other way round."""
FOREIGN: dict[str, frozenset[str]] = {name: known - ENGLISH - NOT_TELLING for name, known in LATIN.items()}
FOREIGN_LETTERS = re.compile(
    "[\u00df\u00e3\u00f5\u00f8\u00e5\u00f1\u0105\u0107\u0119\u0142\u017c\u017a\u015f\u011f\u0131\u010d"
    "\u0159\u0161\u017e\u011b\u016f\u0151\u0171\u0219\u021b\u0103\u01b0\u01a1\u1ea0-\u1ef9]"
)
SHARE = 1 / 3
"""Of a prompt's letters in one script."""


def foreign_language(text: str) -> str:
    """The language of a prompt that is not English, or "". A word or two of another language do not count."""
    shown = readable(text)
    letters = "".join(c for c in shown if c.isalpha())
    for name, script in SCRIPTS:
        if letters and len(re.findall(script, letters)) >= SHARE * len(letters):
            return name
    words = [w.text for w in split_words(text) if w.text.isalpha() and shown[w.start] == text[w.start]]
    counts = Counter({name: sum(word in known for word in words) for name, known in FOREIGN.items()})
    strange = sum(bool(FOREIGN_LETTERS.search(word)) for word in shown.lower().split())
    if not words:
        return ""
    name, most = counts.most_common(1)[0]
    english = sum(word in ENGLISH for word in words)
    enough = most + strange >= 2 or most and len(words) <= 2
    return name if most and enough and most + strange > english and 4 * (most + strange) >= len(words) else ""
