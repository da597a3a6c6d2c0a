from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("link_id", "request_id", "sequence_number", "task", "question", "bundle_digest", "policy_id", "policy_digest", "tokens", "symbols_per_token", "symbols", "side_information", "side_information_bits", "channel", "reception", "top_k", "want_logits", "traceparent", "generation", "timeout_ms", "max_channel_uses", "want_received", "transcription")
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_PER_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SYMBOLS_FIELD_NUMBER: _ClassVar[int]
    SIDE_INFORMATION_FIELD_NUMBER: _ClassVar[int]
    SIDE_INFORMATION_BITS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    RECEPTION_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    WANT_LOGITS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_CHANNEL_USES_FIELD_NUMBER: _ClassVar[int]
    WANT_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPTION_FIELD_NUMBER: _ClassVar[int]
    link_id: str
    request_id: str
    sequence_number: int
    task: str
    question: str
    bundle_digest: str
    policy_id: str
    policy_digest: str
    tokens: int
    symbols_per_token: int
    symbols: bytes
    side_information: bytes
    side_information_bits: int
    channel: ChannelRequest
    reception: Reception
    top_k: int
    want_logits: bool
    traceparent: str
    generation: Generation
    timeout_ms: int
    max_channel_uses: int
    want_received: bool
    transcription: Transcription
    def __init__(self, link_id: _Optional[str] = ..., request_id: _Optional[str] = ..., sequence_number: _Optional[int] = ..., task: _Optional[str] = ..., question: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., policy_id: _Optional[str] = ..., policy_digest: _Optional[str] = ..., tokens: _Optional[int] = ..., symbols_per_token: _Optional[int] = ..., symbols: _Optional[bytes] = ..., side_information: _Optional[bytes] = ..., side_information_bits: _Optional[int] = ..., channel: _Optional[_Union[ChannelRequest, _Mapping]] = ..., reception: _Optional[_Union[Reception, _Mapping]] = ..., top_k: _Optional[int] = ..., want_logits: _Optional[bool] = ..., traceparent: _Optional[str] = ..., generation: _Optional[_Union[Generation, _Mapping]] = ..., timeout_ms: _Optional[int] = ..., max_channel_uses: _Optional[int] = ..., want_received: _Optional[bool] = ..., transcription: _Optional[_Union[Transcription, _Mapping]] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("max_new_tokens", "temperature", "top_p", "seed")
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int
    def __init__(self, max_new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class Transcription(_message.Message):
    __slots__ = ("seconds", "language", "task", "prompt", "timestamps", "temperatures", "beams", "seed", "max_new_tokens", "compression_ratio_threshold", "logprob_threshold", "no_speech_threshold")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURES_FIELD_NUMBER: _ClassVar[int]
    BEAMS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_RATIO_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NO_SPEECH_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    language: str
    task: str
    prompt: str
    timestamps: bool
    temperatures: _containers.RepeatedScalarFieldContainer[float]
    beams: int
    seed: int
    max_new_tokens: int
    compression_ratio_threshold: float
    logprob_threshold: float
    no_speech_threshold: float
    def __init__(self, seconds: _Optional[float] = ..., language: _Optional[str] = ..., task: _Optional[str] = ..., prompt: _Optional[str] = ..., timestamps: _Optional[bool] = ..., temperatures: _Optional[_Iterable[float]] = ..., beams: _Optional[int] = ..., seed: _Optional[int] = ..., max_new_tokens: _Optional[int] = ..., compression_ratio_threshold: _Optional[float] = ..., logprob_threshold: _Optional[float] = ..., no_speech_threshold: _Optional[float] = ...) -> None: ...

class ChannelRequest(_message.Message):
    __slots__ = ("model", "snr_db", "seed", "csi")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CSI_FIELD_NUMBER: _ClassVar[int]
    model: str
    snr_db: float
    seed: int
    csi: str
    def __init__(self, model: _Optional[str] = ..., snr_db: _Optional[float] = ..., seed: _Optional[int] = ..., csi: _Optional[str] = ...) -> None: ...

class Reception(_message.Message):
    __slots__ = ("model", "snr_db", "noise_variance", "gain_real", "gain_imag", "gains", "noise_variances", "pilot_uses")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    NOISE_VARIANCE_FIELD_NUMBER: _ClassVar[int]
    GAIN_REAL_FIELD_NUMBER: _ClassVar[int]
    GAIN_IMAG_FIELD_NUMBER: _ClassVar[int]
    GAINS_FIELD_NUMBER: _ClassVar[int]
    NOISE_VARIANCES_FIELD_NUMBER: _ClassVar[int]
    PILOT_USES_FIELD_NUMBER: _ClassVar[int]
    model: str
    snr_db: float
    noise_variance: float
    gain_real: float
    gain_imag: float
    gains: bytes
    noise_variances: bytes
    pilot_uses: int
    def __init__(self, model: _Optional[str] = ..., snr_db: _Optional[float] = ..., noise_variance: _Optional[float] = ..., gain_real: _Optional[float] = ..., gain_imag: _Optional[float] = ..., gains: _Optional[bytes] = ..., noise_variances: _Optional[bytes] = ..., pilot_uses: _Optional[int] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("link_id", "request_id", "sequence_number", "outputs", "logits", "channel", "channel_ms", "cloud_ms", "problem", "finish_reason", "prompt_tokens", "answer_tokens", "received", "transcript")
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    LOGITS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_MS_FIELD_NUMBER: _ClassVar[int]
    CLOUD_MS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    link_id: str
    request_id: str
    sequence_number: int
    outputs: _containers.RepeatedCompositeFieldContainer[Label]
    logits: _containers.RepeatedScalarFieldContainer[float]
    channel: ChannelReport
    channel_ms: float
    cloud_ms: float
    problem: Problem
    finish_reason: str
    prompt_tokens: int
    answer_tokens: int
    received: bytes
    transcript: Transcript
    def __init__(self, link_id: _Optional[str] = ..., request_id: _Optional[str] = ..., sequence_number: _Optional[int] = ..., outputs: _Optional[_Iterable[_Union[Label, _Mapping]]] = ..., logits: _Optional[_Iterable[float]] = ..., channel: _Optional[_Union[ChannelReport, _Mapping]] = ..., channel_ms: _Optional[float] = ..., cloud_ms: _Optional[float] = ..., problem: _Optional[_Union[Problem, _Mapping]] = ..., finish_reason: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., answer_tokens: _Optional[int] = ..., received: _Optional[bytes] = ..., transcript: _Optional[_Union[Transcript, _Mapping]] = ...) -> None: ...

class Label(_message.Message):
    __slots__ = ("label", "score")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    label: str
    score: float
    def __init__(self, label: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class Transcript(_message.Message):
    __slots__ = ("segments", "language", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    AVG_LOGPROB_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_RATIO_FIELD_NUMBER: _ClassVar[int]
    NO_SPEECH_PROB_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[Segment]
    language: str
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    def __init__(self, segments: _Optional[_Iterable[_Union[Segment, _Mapping]]] = ..., language: _Optional[str] = ..., temperature: _Optional[float] = ..., avg_logprob: _Optional[float] = ..., compression_ratio: _Optional[float] = ..., no_speech_prob: _Optional[float] = ...) -> None: ...

class Segment(_message.Message):
    __slots__ = ("start", "end", "text", "tokens")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    start: float
    end: float
    text: str
    tokens: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, start: _Optional[float] = ..., end: _Optional[float] = ..., text: _Optional[str] = ..., tokens: _Optional[_Iterable[int]] = ...) -> None: ...

class ChannelReport(_message.Message):
    __slots__ = ("model", "snr_db", "channel_uses", "payload_uses", "pilot_uses", "side_information_uses", "airtime_ms", "transmissions", "symbol_rate_hz", "csi")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_USES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_USES_FIELD_NUMBER: _ClassVar[int]
    PILOT_USES_FIELD_NUMBER: _ClassVar[int]
    SIDE_INFORMATION_USES_FIELD_NUMBER: _ClassVar[int]
    AIRTIME_MS_FIELD_NUMBER: _ClassVar[int]
    TRANSMISSIONS_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CSI_FIELD_NUMBER: _ClassVar[int]
    model: str
    snr_db: float
    channel_uses: int
    payload_uses: int
    pilot_uses: int
    side_information_uses: int
    airtime_ms: float
    transmissions: int
    symbol_rate_hz: float
    csi: str
    def __init__(self, model: _Optional[str] = ..., snr_db: _Optional[float] = ..., channel_uses: _Optional[int] = ..., payload_uses: _Optional[int] = ..., pilot_uses: _Optional[int] = ..., side_information_uses: _Optional[int] = ..., airtime_ms: _Optional[float] = ..., transmissions: _Optional[int] = ..., symbol_rate_hz: _Optional[float] = ..., csi: _Optional[str] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("code", "detail", "retry_after_ms", "csi")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    CSI_FIELD_NUMBER: _ClassVar[int]
    code: str
    detail: str
    retry_after_ms: int
    csi: str
    def __init__(self, code: _Optional[str] = ..., detail: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., csi: _Optional[str] = ...) -> None: ...
