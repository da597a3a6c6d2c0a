import pytest

from tests.llava import PROMPT, make_byte_tokenizer, make_tokenizer
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.prompt import Prompt

IMAGE = 4


@pytest.fixture(name="tokenizer", scope="module")
def tokenizer_fixture():
    return make_tokenizer()


@pytest.mark.parametrize("question", ["what colour?", "", "{question} {} is {a} red", "no\nyes"])
@pytest.mark.parametrize("make", [make_tokenizer, make_byte_tokenizer])
def test_both_halves_are_what_the_whole_prompt_makes(make, question):
    tokenizer = make()
    prompt = Prompt(PROMPT, tokenizer, IMAGE)
    whole = tokenizer("USER: <image><image>\n" + question + " ASSISTANT:").input_ids
    assert [*prompt.before, IMAGE, IMAGE, *prompt.after(question)] == whole
    assert whole[0] == tokenizer.bos_token_id


@pytest.mark.parametrize(
    "template",
    ["", "{question}", "<image>", "{question} <image>", "<image> <image> {question}", "<image> {question} {question}"],
)
def test_templates_that_are_none(tokenizer, template):
    with pytest.raises(BundleError, match="must hold <image> once"):
        Prompt(template, tokenizer, IMAGE)


def test_a_tokenizer_with_another_image_token(tokenizer):
    with pytest.raises(BundleError, match="image token, 5"):
        Prompt(PROMPT, tokenizer, 5)


@pytest.mark.parametrize("token", ["<image>", "<s>", "</s>", "<pad>"])
def test_a_question_cannot_speak_for_the_prompt(tokenizer, token):
    with pytest.raises(InvalidRequestError, match="text of a special token"):
        Prompt(PROMPT, tokenizer, IMAGE).after(f"what{token}?")


def test_an_unknown_word_is_no_special_token(tokenizer):
    unknown = tokenizer.unk_token_id
    assert Prompt(PROMPT, tokenizer, IMAGE).after("zebra ?").count(unknown) == 1
    assert Prompt(PROMPT, tokenizer, IMAGE).after("<IMAGE> ?").count(IMAGE) == 0
