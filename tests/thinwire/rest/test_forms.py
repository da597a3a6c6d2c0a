"""Forms as clients really write them: what is a part's name, its text and its bytes."""

import base64
import email.mime.image
import email.mime.multipart
import email.mime.nonmultipart
import email.policy

import pytest

from thinwire.errors import InvalidImageError, InvalidRequestError
from thinwire.rest.forms import read_form
from thinwire.rest.parsing import text_of

IMAGE = bytes(range(256)) * 30 + b"\r\n--bound\r\n--\r\n"
TYPE = "multipart/form-data; boundary=boundary"
NAMES = {"image", "question", "parameters"}


async def read(*parts, content_type=TYPE, size=10**6, boundary="boundary"):
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    return await read_body(body, content_type, size)


async def read_body(body, content_type=TYPE, size=10**6):
    async def chunks():
        for at in range(0, len(body), size):
            yield body[at : at + size]

    return await read_form(content_type, chunks(), NAMES)


def part(headers, content):
    return headers.replace("\n", "\r\n").encode() + b"\r\n\r\n" + content


EXTENDED = "filename*=UTF-8''%C3%A9%3B.png"
PARTS = {
    "a file": 'Content-Disposition: form-data; name="image"; filename="a.png"\nContent-Type: image/png',
    "no file name": 'Content-Disposition: form-data; name="image"',
    "no file name, with a type": 'Content-Disposition: form-data; name="image"\nContent-Type: image/jpeg',
    "the type first": 'Content-Type: image/jpeg\nContent-Disposition: form-data; name="image"',
    "a Blob": 'Content-Disposition: form-data; name="image"; filename="blob"\nContent-Type: application/octet-stream',
    "an empty file name": 'Content-Disposition: form-data; name="image"; filename=""',
    "a name that is no token": "Content-Disposition: form-data; name=image; filename=a.png",
    "an extended file name": f'Content-Disposition: form-data; name="image"; filename="a.png"; {EXTENDED}',
    "an extended file name alone": f'Content-Disposition: form-data; name="image"; {EXTENDED}',
    "quotes in the file name": 'Content-Disposition: form-data; name="image"; filename="a\\"b; name=c.png"',
    "quotes as browsers write them": 'Content-Disposition: form-data; name="image"; filename="a%22b.png"',
    "a path of Windows": 'Content-Disposition: form-data; name="image"; filename="C:\\\\a\\\\b.png"',
    "another order and case": 'content-disposition: FORM-DATA; filename="é.png"; NAME="image"',
    "no blanks": 'Content-Disposition:form-data;name="image";filename="a.png"',
    "a length": 'Content-Disposition: form-data; name="image"\nContent-Length: 7',
    "binary": 'Content-Disposition: form-data; name="image"\nContent-Transfer-Encoding: binary',
    "not compressed": 'Content-Disposition: form-data; name="image"\nContent-Encoding: Identity',
    "8bit": 'Content-Disposition: form-data; name="image"; filename="a.png"\nContent-Transfer-Encoding: 8BIT',
}


@pytest.mark.parametrize("size", [1, 100, 10**6])
@pytest.mark.parametrize("name", PARTS)
async def test_an_image_keeps_its_bytes(name, size):
    parts = await read(part(PARTS[name], IMAGE), size=size)
    assert list(parts) == ["image"]
    assert parts["image"].content == IMAGE


TEXTS = {
    "a field": "",
    "a Blob": '; filename="blob"\nContent-Type: application/json',
    "a file": '; filename="p.json"\nContent-Type: application/octet-stream',
    "a Blob of text": '; filename="blob"\nContent-Type: text/plain;charset=UTF-8',
    "a field with a type": "\nContent-Type: text/plain; charset=utf-8",
    "no charset that we know": "\nContent-Type: text/plain; charset=x-user-defined",
}


@pytest.mark.parametrize("name", TEXTS)
async def test_a_text_may_be_a_file(name):
    for field in ("question", "parameters"):
        headers = f'Content-Disposition: form-data; name="{field}"{TEXTS[name]}'
        assert text_of((await read(part(headers, "où?".encode())))[field]) == "où?"


async def test_a_part_has_a_charset():
    headers = 'Content-Disposition: form-data; name="question"\nContent-Type: text/plain; charset=ISO-8859-1'
    assert text_of((await read(part(headers, "où?".encode("latin-1"))))["question"]) == "où?"
    plain = (await read(part('Content-Disposition: form-data; name="question"', b"\xff")))["question"]
    with pytest.raises(InvalidRequestError, match="the field 'question' is not UTF-8"):
        text_of(plain)


@pytest.mark.parametrize(
    ("options", "boundary"),
    [
        ('boundary="a b:c/?="', "a b:c/?="),
        ("charset=utf-8; Boundary=b", "b"),
        ('charset="utf-16";boundary=----WebKitFormBoundary7MA4YWxk', "----WebKitFormBoundary7MA4YWxk"),
    ],
)
async def test_boundaries(options, boundary):
    image = part('Content-Disposition: form-data; name="image"', IMAGE)
    parts = await read(image, content_type=f"multipart/form-data;{options}", boundary=boundary)
    assert parts["image"].content == IMAGE


async def test_what_mail_libraries_make():
    form = email.mime.multipart.MIMEMultipart("form-data", "boundary")
    image = email.mime.image.MIMEImage(IMAGE, "png")
    text = email.mime.nonmultipart.MIMENonMultipart("text", "plain", charset="utf-8")
    text.set_payload("o=C3=B9=\r\n =3D?")
    text["Content-Transfer-Encoding"] = "Quoted-Printable"
    for name, one in (("image", image), ("question", text)):
        one.add_header("Content-Disposition", "form-data", name=name)
        form.attach(one)
    body = form.as_bytes(policy=email.policy.HTTP).partition(b"\r\n\r\n")[2]
    assert b"base64" in body
    parts = await read_body(body)
    assert (parts["image"].content, text_of(parts["question"])) == (IMAGE, "où =?")


AROUND = {
    "text before": (b"This is a message in MIME format.\r\nIt has -- and --bound in it.\r\n", b""),
    "text that is like a boundary": (b"--bound\r\n --boundary\r\n--boundaryless\r\n\r\n", b""),
    "an empty line before": (b"\r\n", b""),
    "blanks behind": (b"", b" \t "),
    "both": (b"hello\r\n", b" "),
}


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("name", AROUND)
async def test_what_may_stand_around_a_boundary(name, size):
    before, behind = AROUND[name]
    line = b"--boundary" + behind + b"\r\n"
    parts = [part(f'Content-Disposition: form-data; name="{field}"', IMAGE) for field in ("image", "question")]
    body = before + b"".join(line + one + b"\r\n" for one in parts) + b"--boundary--" + behind + b"\r\nafter"
    found = await read_body(body, size=size)
    assert [(field, one.content) for field, one in found.items()] == [("image", IMAGE), ("question", IMAGE)]


@pytest.mark.parametrize("body", [b"", b"p=1&q=2", b"--other\r\n\r\n--other--\r\n", b"--boundary\n\n\n--boundary--\n"])
async def test_a_form_without_its_boundary(body):
    with pytest.raises(InvalidRequestError, match="no line of it is '--boundary', with CRLF behind it"):
        await read_body(body)


async def test_a_form_may_hold_nothing():
    assert await read_body(b"--boundary--\r\n") == {}


NAMED = 'Content-Disposition: form-data; name="image"'
REFUSED = {
    "another name": (
        'Content-Disposition: form-data; name="top_k"',
        "may hold image and parameters and question, got 'top_k'",
    ),
    "an array of PHP": ('Content-Disposition: form-data; name="image[]"', "got 'image[]'"),
    "no name": ("Content-Disposition: form-data", "got ''"),
    "an extended name": ("Content-Disposition: form-data; name*=UTF-8''image", "got ''"),
    "a compressed part": (
        f"{NAMED}\nContent-Encoding: gzip",
        "content-encoding of 'image': only the body as a whole may be compressed, got 'gzip'",
    ),
    "no disposition": ("Content-Type: image/png", "got ''"),
    "another encoding": (
        f"{NAMED}\nContent-Transfer-Encoding: x-uuencode",
        "'image': expected base64 or binary, got 'x-uuencode'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused(name):
    headers, words = REFUSED[name]
    with pytest.raises(InvalidRequestError) as caught:
        await read(part(headers, b"x"))
    assert words in str(caught.value)


async def test_base64_that_is_none_is_the_images_fault():
    headers = 'Content-Disposition: form-data; name="image"\nContent-Transfer-Encoding: base64'
    assert (await read(part(headers, base64.encodebytes(IMAGE))))["image"].content == IMAGE
    with pytest.raises(InvalidImageError, match="image is not base64"):
        await read(part(headers, b"*"))


async def test_twice_is_once_too_often():
    image = part('Content-Disposition: form-data; name="image"', b"x")
    with pytest.raises(InvalidRequestError, match="holds 'image' more than once"):
        await read(image, image)


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data;"]
)
async def test_a_boundary_that_was_forgotten(content_type):
    with pytest.raises(InvalidRequestError, match="names no boundary"):
        await read(part('Content-Disposition: form-data; name="image"', b"x"), content_type=content_type)
