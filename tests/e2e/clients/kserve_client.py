"""Runs Triton's client, which speaks KServe's protocol, in an environment that has it and nothing of ours.

Standard input is JSON with the addresses, images and questions; standard output is JSON, for each case what the client
shows of the answer or of the error.
"""

import asyncio
import base64
import json
import queue
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException

MODEL, ASKING = "cifar10", "easy-vqa"


def objects(values: list[Any]) -> Any:
    return np.array(values, dtype=np.object_)


def tensor(module: ModuleType, name: str, array: Any, datatype: str = "BYTES", **options: Any) -> Any:
    given = module.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **options)
    return given


def shown(result: Any) -> dict[str, Any]:
    """All outputs of an answer, and what it says of itself."""
    response = result.get_response()
    content = response if isinstance(response, dict) else {"id": response.id, "model_version": response.model_version}
    names = ("label", "score", "answer", "channel_uses", "tokens", "policy")
    arrays = {name: array for name in names if (array := result.as_numpy(name)) is not None}
    told = {name: [text(value) for value in array.reshape(-1).tolist()] for name, array in arrays.items()}
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    return {"id": content.get("id"), "version": content["model_version"], "shapes": shapes, **told}


def text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def caught(work: Callable[[], Any]) -> Any:
    try:
        return {"answer": work()}
    except InferenceServerException as error:
        return {"error": error.message(), "status": error.status()}


def blocking(module: ModuleType, url: str, given: dict[str, Any]) -> dict[str, Any]:
    client = module.InferenceServerClient(url)
    is_http = module is tritonclient.http
    pictures, question = objects(given["images"]), given["question"]
    many, few = tensor(module, "image", pictures), tensor(module, "image", pictures[:3])
    asked = tensor(module, "question", objects([question] * 3))
    pixels = given["pixels"]
    calm = {"parameters": given["parameters"]}
    top = [module.InferRequestedOutput("score", class_count=2)]
    compressions = ("gzip", "deflate")
    name = "request_compression_algorithm" if is_http else "compression_algorithm"

    def infer(*arguments: Any, **options: Any) -> Any:
        return shown(client.infer(*arguments, **options))

    found = {
        "live": client.is_server_live() and client.is_server_ready() and client.is_model_ready(ASKING),
        "metadata": caught(lambda: str(client.get_server_metadata())),
        "model": caught(lambda: str(client.get_model_metadata(ASKING))),
        "many": caught(lambda: infer(MODEL, [many], request_id="50", **calm)),
        "questions": caught(lambda: infer(ASKING, [few, asked], **calm)),
        "pixels": caught(lambda: infer(MODEL, [tensor(module, "pixels", pixels, "UINT8")], **calm)),
        "parts": caught(
            lambda: infer(MODEL, [tensor(module, "pixels", (pixels / 255).astype(np.float32), "FP32")], **calm)
        ),
        "classes": caught(lambda: infer(MODEL, [few], outputs=top, **calm)),
        "no model": caught(lambda: infer("nope", [few])),
        "no version": caught(lambda: infer(MODEL, [few], model_version="1")),
        "no image": caught(lambda: infer(MODEL, [tensor(module, "image", objects([pictures[0], b"no image"]))])),
        "no question": caught(lambda: infer(ASKING, [few])),
        "no parameter": caught(lambda: infer(MODEL, [few], parameters={"topk": 1})),
        "no time": caught(lambda: infer(MODEL, [many], timeout=1)),
        "no policy": caught(lambda: infer(MODEL, [few], parameters={"policy": "p-nope"})),
        **{one: caught(lambda one=one: infer(MODEL, [few], **calm, **{name: one})) for one in compressions},
    }
    if is_http:
        in_json = tensor(module, "image", objects(given["base64"][:3]), binary_data=False)
        plain = [module.InferRequestedOutput(one, binary_data=one == "score") for one in ("label", "score")]
        found["json"] = caught(lambda: infer(MODEL, [in_json], outputs=plain, **calm))
        found["json in"] = caught(lambda: infer(MODEL, [in_json], **calm))
        calls = [client.async_infer(MODEL, [few], **calm) for _ in range(3)]
        found["async"] = caught(lambda: [shown(call.get_result()) for call in calls])
        wrong = client.async_infer("nope", [few])
        found["async error"] = caught(wrong.get_result)
        headers: dict[str, Any] = {}
        client.infer(MODEL, [few], headers=headers, request_compression_algorithm="gzip")
        # What the client wrote there goes out with the next call.
        found["stale"] = caught(lambda: infer(MODEL, [in_json], headers=headers))
    else:
        answers: queue.Queue[Any] = queue.Queue()
        client.async_infer(MODEL, [few], lambda result, error: answers.put((result, error)), **calm)
        found["async"] = caught(lambda: [told(answers.get(timeout=60))])
        client.async_infer("nope", [few], lambda result, error: answers.put((result, error)))
        found["async error"] = caught(lambda: told(answers.get(timeout=60)))
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number, model in enumerate((MODEL, "nope", MODEL)):
            client.async_stream_infer(model, [few], request_id=f"r{number}", **calm)
        found["stream"] = [caught(lambda: told(answers.get(timeout=60))) for _ in range(3)]
        client.stop_stream()
    client.close()
    return found


def told(answer: tuple[Any, Any]) -> Any:
    result, error = answer
    if error is not None:
        raise error
    return shown(result)


async def asynchronous(module: ModuleType, url: str, given: dict[str, Any]) -> dict[str, Any]:
    is_http = module is tritonclient.http.aio
    few = tensor(module, "image", objects(given["images"][:3]))
    compressed = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}
    options = compressed if is_http else {"compression_algorithm": "gzip"}
    calm = {"parameters": given["parameters"]}
    async with module.InferenceServerClient(url) as client:
        calls = [client.infer(MODEL, [few], **calm), client.infer(MODEL, [few], **calm, **options)]
        results = await asyncio.gather(*calls, client.infer("nope", [few]), return_exceptions=True)
        live = await client.is_server_ready() and await client.is_model_ready(MODEL)
        model = str(await client.get_model_metadata(MODEL))
    answers = [caught(lambda one=one: told((one, one if isinstance(one, Exception) else None))) for one in results]
    return {"live": live, "model": model, "answers": answers}


def main() -> None:
    given = json.load(sys.stdin)
    given["base64"], given["images"] = given["images"], [base64.b64decode(image) for image in given["images"]]
    given["pixels"] = np.frombuffer(base64.b64decode(given["pixels"]), np.uint8).reshape(given["shape"])
    http, grpc = given["http"], given["grpc"]
    found = {
        "http": blocking(tritonclient.http, http, given),
        "grpc": blocking(tritonclient.grpc, grpc, given),
        "http.aio": asyncio.run(asynchronous(tritonclient.http.aio, http, given)),
        "grpc.aio": asyncio.run(asynchronous(tritonclient.grpc.aio, grpc, given)),
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
