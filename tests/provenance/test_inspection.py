from __future__ import annotations

import io
import json
import struct
import zlib

import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.PngImagePlugin import PngInfo

from detection.provenance import TRUST_WORDS, inspect
from detection.provenance.metadata_blocks import MAX_TEXT, MAX_TEXTS
from tests.support.image_files import encoded, picture, png
from tests.support.provenance import (
    AUTOMATIC1111,
    COMPOSITE,
    MIDJOURNEY,
    TRAINED,
    edition_of,
    picture_with,
    xmp_packet,
)

pytestmark = pytest.mark.stateless

SWARM = json.dumps({"sui_image_params": {"prompt": "a lighthouse", "model": "m", "steps": 20}})
FOOOCUS = json.dumps(
    {
        "base_model": "harbour",
        "base_model_hash": "0123",
        "prompt": "a lighthouse",
        "negative_prompt": "",
        "sampler": "dpmpp",
        "sharpness": 2.0,
        "guidance_scale": 4.0,
        "scheduler": "karras",
        "seed": "1",
        "steps": 30,
    }
)
INVOKEAI = json.dumps(
    {
        "positive_prompt": "a lighthouse",
        "negative_prompt": "",
        "model": {"model_name": "harbour"},
        "scheduler": "euler",
        "steps": 20,
    }
)
NOVELAI = {
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4 4F49EC75",
    "Description": "a lighthouse",
    "Comment": json.dumps({"sampler": "k_euler", "steps": 28, "uc": "blurry"}),
}
DRAW_THINGS = json.dumps({"c": "a lighthouse", "uc": "", "sampler": "e", "model": "m", "v2": {}})
COMFYUI = json.dumps(
    {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "steps": 20,
                "sampler_name": "euler",
                "positive": ["6", 0],
                "negative": ["7", 0],
                "model": ["4", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "harbour.st"}},
        "5": {"class_type": "Conditioning", "inputs": {"conditioning": ["6", 0], "loop": ["8", 0]}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse"}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}},
        "8": {"class_type": "Conditioning", "inputs": {"loop": ["5", 0]}},
    }
)


def with_exif(*, image_format: str = "JPEG", taken: dict | None = None, **texts: str) -> bytes:
    exif = Image.Exif()
    for name, value in texts.items():
        exif[Base[name]] = value
    exif.get_ifd(IFD.Exif).update(taken or {})
    return picture_with(image_format=image_format, exif=exif)


def comment(text: str, encoding: str = "utf-16-be") -> dict:
    return {Base.UserComment: b"UNICODE\0" + text.encode(encoding)}


@pytest.mark.parametrize(
    ("texts", "generator", "details"),
    [
        (
            {"Description": MIDJOURNEY},
            "Midjourney",
            {"prompt": "A lighthouse at dusk --ar 3:2 --v 7"},
        ),
        (
            {"parameters": AUTOMATIC1111},
            "AUTOMATIC1111",
            {
                "prompt": "a lighthouse at dusk",
                "negative_prompt": "blurry",
                "model": "harbour_v2",
                "sampler": "Euler a",
            },
        ),
        ({"parameters": AUTOMATIC1111.replace("v1.10", "f2.0.1v1.10")}, "Forge", {}),
        ({"parameters": SWARM}, "SwarmUI", {"prompt": "a lighthouse", "model": "m"}),
        ({"parameters": FOOOCUS}, "Fooocus", {"prompt": "a lighthouse", "model": "harbour"}),
        ({"invokeai_metadata": INVOKEAI}, "InvokeAI", {"prompt": "a lighthouse"}),
        (NOVELAI, "NovelAI", {"prompt": "a lighthouse", "negative_prompt": "blurry"}),
        (
            {"prompt": COMFYUI},
            "ComfyUI",
            {
                "prompt": "a lighthouse",
                "negative_prompt": "blurry",
                "model": "harbour.st",
                "sampler": "euler",
            },
        ),
        ({"workflow": '{"nodes": [{"id": 1, "type": "KSampler"}]}'}, "ComfyUI", {}),
    ],
)
def test_texts_of_a_png_name_the_generator(texts, generator, details):
    found = inspect(picture_with(texts=texts))
    claim = next(claim for claim in found.claims if claim.kind == "generator")
    assert (found.declares, found.generator, found.unread) == ("generated", generator, ())
    assert (claim.trust, claim.declares) == ("unsigned", "generated")
    assert details.items() <= claim.details.items()


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF"])
def test_settings_in_the_comment_of_exif_name_the_generator(image_format, encoding):
    found = inspect(
        with_exif(
            image_format=image_format, Software="Test", taken=comment(AUTOMATIC1111, encoding)
        )
    )
    [claim] = found.claims
    assert (claim.generator, claim.place) == ("AUTOMATIC1111", "EXIF UserComment")


def test_comfyui_writes_its_graph_into_the_make_of_a_webp():
    data = with_exif(image_format="WEBP", Make=f"prompt:{COMFYUI}", Model="workflow:{}")
    found = inspect(data)
    assert [claim.kind for claim in found.claims] == ["generator"]
    assert found.claims[0].details["prompt"] == "a lighthouse"


def test_draw_things_writes_its_settings_into_xmp():
    packet = xmp_packet(f"exif:UserComment='{DRAW_THINGS}' xmp:CreatorTool=\"Draw Things\"")
    found = inspect(picture_with(image_format="PNG", pnginfo=xmp_in_png(packet)))
    assert found.generator == "Draw Things"
    assert found.claims[0].details["prompt"] == "a lighthouse"


def xmp_in_png(packet: bytes) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
    return info


def test_a_comment_of_a_jpeg_and_of_a_gif_is_read():
    for image_format in ("JPEG", "GIF"):
        data = picture_with(image_format=image_format, comment=MIDJOURNEY.encode())
        assert inspect(data).generator == "Midjourney", image_format


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_the_source_type_of_xmp_counts_in_every_format(image_format):
    packet = xmp_packet(
        f'Iptc4xmpExt:DigitalSourceType="{TRAINED}" photoshop:Credit="Made with Google AI"'
    )
    options = {"pnginfo": xmp_in_png(packet)} if image_format == "PNG" else {"xmp": packet}
    if image_format == "TIFF":
        options = {"tiffinfo": {700: packet}}
    found = inspect(encoded(picture(), image_format, **options))
    assert (found.declares, found.generator) == ("generated", "Google AI")
    assert [claim.place for claim in found.claims] == ["XMP DigitalSourceType", "XMP Credit"]


def test_a_picture_with_edited_parts_declares_edited():
    packet = xmp_packet(
        f'Iptc4xmpExt:DigitalSourceType="{COMPOSITE}" photoshop:Credit="Edited with Google AI"'
    )
    assert inspect(picture_with(xmp=packet)).declares == "edited"


def test_a_credit_that_names_only_an_owner_is_no_claim():
    packet = xmp_packet('photoshop:Credit="OpenAI/Handout" photoshop:Source="Krea"')
    caption = with_exif(ImageDescription="Looks as if made with Midjourney")
    assert inspect(picture_with(xmp=packet)).claims == ()
    assert inspect(caption).claims == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_only_the_first_tags_of_a_tiff_are_read(order):
    text = b"Midjourney\0"
    entries = [struct.pack(f"{order}HHII", 305, 2, len(text), 8)]
    entries += [struct.pack(f"{order}HHII", 40000, 1, 2**20, 8)] * 60_000
    start = 8 + len(text)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    data = head + text + struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(2**20)
    found = inspect(data)
    assert (found.generator, found.unread) == ("Midjourney", ())


def test_the_program_of_a_generator_is_a_claim():
    found = inspect(with_exif(Software="Adobe Firefly 3"))
    assert (found.declares, found.generator) == ("generated", "Adobe Firefly")
    assert inspect(with_exif(Software="Adobe Photoshop 25.3")).claims == ()


def test_iptc_credits_are_read():
    credit = b"Made with Midjourney"
    record = b"\x1c\x02\x6e" + struct.pack(">H", len(credit)) + credit
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    body = b"Photoshop 3.0\0" + resource + b"\0" * (len(record) % 2)
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    data = picture_with()
    [claim] = inspect(data[:2] + segment + data[2:]).claims
    assert (claim.generator, claim.place) == ("Midjourney", "IPTC credit")


@pytest.mark.parametrize(
    ("label", "declares", "words"),
    [
        ("1", "generated", "a generator made this"),
        ("2", None, "a generator may have made this"),
        ("3", None, "a generator is suspected to have made this"),
    ],
)
def test_the_label_of_chinese_law_is_read(label, declares, words):
    text = json.dumps({"Label": label, "ContentProducer": "0011", "ProduceID": "7"})
    for data in (
        picture_with(texts={"AIGC": text}),
        picture_with(xmp=xmp_packet(f"TC260:AIGC='{text}'")),
        with_exif(taken=comment(json.dumps({"AIGC": json.loads(text)}))),
    ):
        [claim] = inspect(data).claims
        assert (claim.kind, claim.declares) == ("aigc_label", declares)
        assert claim.says == f"The AIGC label of China says: {words}."
        assert claim.details == {"producer": "0011", "number": "7"}


def test_the_signature_of_grok_is_known():
    found = inspect(with_exif(ImageDescription="Signature: " + "Ab3+" * 20))
    assert (found.declares, found.generator) == ("generated", "Grok")


def test_a_camera_is_a_fact_that_declares_nothing():
    taken = {
        Base.ExposureTime: 0.004,
        Base.FNumber: 2.8,
        Base.ISOSpeedRatings: 200,
        Base.MakerNote: b"note",
    }
    found = inspect(with_exif(Make="Canon", Model="Canon EOS R5", taken=taken))
    [claim] = found.claims
    assert found.declares is None
    assert claim.says == ("The EXIF data name a camera: Canon EOS R5. Such data are easily forged.")
    assert claim.details == {
        "make": "Canon",
        "model": "Canon EOS R5",
        "exposure": "1/250 s",
        "aperture": "f/2.8",
        "iso": "200",
        "maker_note": "present",
    }


def test_a_text_behind_the_pixels_is_read():
    data = picture_with(image_format="PNG")
    body = b"parameters\0" + AUTOMATIC1111.encode()
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    assert inspect(data[:-12] + chunk + data[-12:]).generator == "AUTOMATIC1111"


def test_prompts_are_cut_to_300_characters_and_whole_on_demand():
    prompt = "lighthouse " * 60
    data = picture_with(texts={"parameters": prompt + AUTOMATIC1111})
    cut = inspect(data).claims[0].details["prompt"]
    whole = inspect(data, whole_prompts=True).claims[0].details["prompt"]
    assert len(cut) == 300
    assert cut.endswith("…")
    assert whole.startswith(prompt)


def test_texts_are_plain_and_bounded():
    texts = {
        "parameters": "a\x1b[31m\u202eb<script>\0" + AUTOMATIC1111.replace("Euler a", "x" * 5000)
    }
    found = inspect(picture_with(texts=texts))
    everything = json.dumps(found.as_dict(), ensure_ascii=False)
    assert not {"\x1b", "\u202e", "\0"} & {*everything}
    assert len(everything) < 3000


def test_entities_are_not_expanded():
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>&b;</x:xmpmeta>"
    )
    assert inspect(picture_with(xmp=bomb)).unread == ("XMP",)


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "Hashes:{" * 30000 + "\nSteps: 1, Sampler: a"},
        {"parameters": "Steps: 1, " * 25000},
        {"Dream": '"a"' + " " * 250000 + "-"},
        {"Source": " " * 250000, "Software": "NovelAI", "Comment": '{"sampler": 1}'},
        {"prompt": '{"class_type": "inputs"' + "[" * 100000},
        {
            "prompt": json.dumps(
                {"class_type": {"inputs": {"steps": 1, "positive": [["a"] * 9] * 9}}}
            )
        },
        {"AIGC": "[" * 100000},
        {"parameters": '"sui_image_params"'},
    ],
)
def test_hostile_texts_raise_nothing(texts):
    assert len(inspect(picture_with(texts=texts)).claims) <= 3


def test_a_deep_packet_and_a_large_text_are_bounded():
    deep = b"<a>" * 60000 + b"</a>" * 60000
    assert inspect(picture_with(image_format="WEBP", xmp=deep)).declares is None
    zeros = zlib.compress(bytes(2**26))
    data = png(1, 1, 8, 2, b"\0\0\0\0", (b"zTXt", b"parameters\0\0" + zeros))
    assert inspect(data).claims == ()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_unreadable_metadata_are_named():
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    data = picture_with(xmp=b"<broken")
    found = inspect(data[:2] + segment + data[2:])
    assert "XMP" in found.unread
    assert found.claims == ()
    assert inspect(b"").as_dict() == {
        "declares": None,
        "generator": "",
        "says": "",
        "claims": [],
        "unread": [],
    }


def test_every_level_of_trust_has_a_sentence():
    assert {*TRUST_WORDS} == {"trusted", "intact", "not_listed", "changed", "invalid", "unsigned"}


def test_a_picture_without_metadata_makes_no_claim():
    for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"):
        found = inspect(encoded(picture(), image_format))
        assert (found.claims, found.unread, found.declares) == ((), (), None), image_format


def test_a_manifest_counts_more_than_a_text():
    packet = xmp_packet(f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"')
    edited = {"action": "c2pa.edited", "digitalSourceType": COMPOSITE}
    data = with_xmp_segment(edition_of(picture_with(seed=2), edited), packet)
    found = inspect(data)
    assert found.declares == "edited"
    assert [claim.declares for claim in found.claims] == ["edited", "generated"]


def with_xmp_segment(jpeg: bytes, packet: bytes) -> bytes:
    body = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


GENERATED_XMP = xmp_packet(f'Iptc4xmpExt:DigitalSourceType="{TRAINED}"')


def test_only_the_first_texts_of_a_png_are_read():
    """Each text may be inflated to a thousand times its size."""
    assert inspect(picture_with(xmp=GENERATED_XMP)).declares == "generated"
    info = PngInfo()
    for number in range(MAX_TEXTS):
        info.add_text(f"note {number}", "nothing", zip=True)
    info.add_itxt("XML:com.adobe.xmp", GENERATED_XMP.decode())
    buffer = io.BytesIO()
    picture().save(buffer, "PNG", pnginfo=info)

    assert inspect(buffer.getvalue()).declares is None


def test_a_long_packet_is_cut_before_it_is_parsed():
    packet = GENERATED_XMP.replace(b"</x:xmpmeta>", b" " * MAX_TEXT + b"</x:xmpmeta>")
    assert len(packet) > MAX_TEXT
    buffer = io.BytesIO()
    picture().save(buffer, "AVIF", xmp=packet)
    found = inspect(buffer.getvalue())

    assert (found.declares, found.unread) == (None, ("XMP",))
