"""Uploads by clients that people have, over a socket: what they send is what arrives."""

import asyncio
import base64
import gzip
import json
import shutil
import zlib

import httpx
import pytest
from fastapi import Request

from thinwire.rest import problems
from thinwire.rest.application import Application
from thinwire.rest.parsing import parse_classify, parse_vqa
from thinwire.rest.server import HttpServer

# Larger than one read of a socket, and no text.
IMAGE = bytes(range(256)) * 1000
PARAMETERS = {"policy": "é"}
JSON = {"inputs": base64.b64encode(IMAGE).decode(), "parameters": PARAMETERS}
ARRIVED = {"bytes": len(IMAGE), "crc": zlib.crc32(IMAGE), "policy": "é"}
CURL, NODE = shutil.which("curl"), shutil.which("node")


@pytest.fixture(name="url")
async def url_fixture():
    app = Application()
    problems.install(app)

    @app.post("/classify")
    async def classify(request: Request):
        image, parameters = await parse_classify(request)
        return {"bytes": len(image), "crc": zlib.crc32(image), "policy": parameters.policy}

    @app.post("/vqa")
    async def vqa(request: Request):
        image, question, parameters = await parse_vqa(request)
        return {"bytes": len(image), "crc": zlib.crc32(image), "policy": parameters.policy, "question": question}

    server = HttpServer(app, "127.0.0.1", 0, 1.0)
    yield f"http://127.0.0.1:{await server.start()}"
    await server.stop()


async def run(*arguments):
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


@pytest.fixture(name="files")
def files_fixture(tmp_path):
    contents = {
        "cat.png": IMAGE,
        "parameters.json": json.dumps(PARAMETERS, ensure_ascii=False).encode(),
        "question.txt": "où?".encode(),
        "base64.txt": base64.encodebytes(IMAGE),
        "body.json": json.dumps(JSON).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "body.json.gz").write_bytes(gzip.compress(contents["body.json"]))
    (tmp_path / "cat.png.gz").write_bytes(gzip.compress(IMAGE))
    return tmp_path


@pytest.mark.skipif(CURL is None, reason="no curl")
@pytest.mark.parametrize(
    "fields",
    [
        ["image=@cat.png", "parameters=@parameters.json;type=application/json"],
        ["image=@cat.png", "parameters=<parameters.json"],
        ["image=@cat.png", 'parameters={"policy": "é"};type=application/json'],
        ["parameters=@parameters.json", "image=<cat.png"],
        ["image=<cat.png;type=image/png", "parameters=<parameters.json;type=text/plain"],
        ['image=@"cat.png";filename="é;\\".png"', "parameters=<parameters.json"],
        ["image=@cat.png;encoder=base64", "parameters=<parameters.json;encoder=quoted-printable"],
    ],
)
async def test_forms_by_curl(url, files, fields):
    fields = [field.replace("=@", f"=@{files}/").replace("=<", f"=<{files}/") for field in fields]
    fields = [field.replace(f'@{files}/"cat.png"', f'@"{files}/cat.png"') for field in fields]
    asked = [argument for field in fields for argument in ("-F", field)]
    assert await run(CURL, "-sS", f"{url}/classify", *asked) == ARRIVED
    for question in (f"@{files}/question.txt", f"<{files}/question.txt", "où?"):
        answer = await run(CURL, "-sS", f"{url}/vqa", *asked, "-F", f"question={question}")
        assert answer == ARRIVED | {"question": "où?"}


@pytest.mark.skipif(CURL is None, reason="no curl")
async def test_compressed_files_by_curl(url, files):
    for body, kind in (("body.json.gz", "application/json"), ("cat.png.gz", "image/png")):
        headers = ["-H", f"content-type: {kind}", "-H", "content-encoding: gzip"]
        answer = await run(CURL, "-sS", f"{url}/classify", *headers, "--data-binary", f"@{files}/{body}")
        assert answer["crc"] == ARRIVED["crc"]


# Forms, compressed streams and data: URLs by Node's fetch, which makes them as browsers do: both by the WHATWG's rules.
SCRIPT = """
import { readFileSync } from "node:fs";
const [url, folder] = process.argv.slice(2);
const image = readFileSync(`${folder}/cat.png`);
const parameters = readFileSync(`${folder}/parameters.json`, "utf8");
const json = new Blob([parameters], { type: "application/json" });
const post = async (path, body, headers) =>
  (await fetch(url + path, { method: "POST", body, headers, duplex: "half" })).json();
const form = (fields) => {
  const made = new FormData();
  for (const [name, ...value] of fields) made.append(name, ...value);
  return made;
};
const dataUrl = `data:image/png;base64,${image.toString("base64")}`;
const body = JSON.stringify({ inputs: dataUrl, parameters: JSON.parse(parameters) });
const squeezed = (coding) => new Blob([body]).stream().pipeThrough(new CompressionStream(coding));
const kind = "application/json;charset=UTF-8";
const answers = [
  await post("/classify", form([["image", new Blob([image])], ["parameters", json]])),
  await post("/classify", form([["parameters", json, "p.json"], ["image", new File([image], "é\\"\\n.png")]])),
  await post("/classify", form([["image", dataUrl], ["parameters", parameters]])),
  await post("/classify", body, { "content-type": kind }),
  await post("/classify", new Blob([body], { type: "application/json" })),
  await post("/classify", squeezed("gzip"), { "content-type": kind, "content-encoding": "gzip" }),
  await post("/classify", squeezed("deflate"), { "content-type": kind, "content-encoding": "deflate" }),
  await post("/classify", squeezed("deflate-raw"), { "content-type": kind, "content-encoding": "deflate" }),
];
const asked = [
  [["question", "où?"]],
  [["question", new Blob(["où?"], { type: "text/plain" })]],
  [["question", new File(["où?"], "q.txt")]],
];
for (const question of asked)
  answers.push(await post("/vqa", form([["image", new Blob([image])], ["parameters", json], ...question])));
console.log(JSON.stringify(answers));
"""


@pytest.mark.skipif(NODE is None, reason="no Node")
async def test_fetch_by_node(url, files):
    script = files / "post.mjs"
    script.write_text(SCRIPT)
    answers = await run(NODE, script, url, files)
    assert answers == [ARRIVED] * 8 + [ARRIVED | {"question": "où?"}] * 3


def by_httpx(url, files):
    return httpx.post(url, files=files, trust_env=False)


def by_requests(url, files):
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        session.trust_env = False
        return session.post(url, files=files, timeout=30)


def by_urllib3(url, files):
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, fields=files)


@pytest.mark.parametrize("post", [by_httpx, by_requests, by_urllib3])
async def test_forms_by_python(url, post):
    text = json.dumps(PARAMETERS, ensure_ascii=False).encode()
    forms = [
        {"image": ("cat.png", IMAGE, "image/png"), "parameters": ("p.json", text, "application/json")},
        {"image": ("é.png", IMAGE), "parameters": ("parameters", text)},
    ]
    if post is not by_urllib3:
        forms.append({"image": (None, IMAGE), "parameters": (None, text, "application/json")})
    else:
        forms.append({"image": IMAGE, "parameters": text.decode()})
    for files in forms:
        assert (await asyncio.to_thread(post, f"{url}/classify", files)).json() == ARRIVED
