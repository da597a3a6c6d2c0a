from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Profile(_message.Message):
    __slots__ = ("model", "snr_db", "seed", "symbol_rate_hz", "inject_airtime", "frame_loss", "csi")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SNR_DB_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SYMBOL_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    INJECT_AIRTIME_FIELD_NUMBER: _ClassVar[int]
    FRAME_LOSS_FIELD_NUMBER: _ClassVar[int]
    CSI_FIELD_NUMBER: _ClassVar[int]
    model: str
    snr_db: float
    seed: int
    symbol_rate_hz: float
    inject_airtime: bool
    frame_loss: float
    csi: str
    def __init__(self, model: _Optional[str] = ..., snr_db: _Optional[float] = ..., seed: _Optional[int] = ..., symbol_rate_hz: _Optional[float] = ..., inject_airtime: _Optional[bool] = ..., frame_loss: _Optional[float] = ..., csi: _Optional[str] = ...) -> None: ...

class GetProfileRequest(_message.Message):
    __slots__ = ("link_id",)
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    link_id: str
    def __init__(self, link_id: _Optional[str] = ...) -> None: ...

class SetProfileRequest(_message.Message):
    __slots__ = ("link_id", "profile")
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    link_id: str
    profile: Profile
    def __init__(self, link_id: _Optional[str] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class ListLinksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LinkStatus(_message.Message):
    __slots__ = ("link_id", "profile", "frames", "channel_uses", "channel_uses_max")
    LINK_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_USES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_USES_MAX_FIELD_NUMBER: _ClassVar[int]
    link_id: str
    profile: Profile
    frames: int
    channel_uses: int
    channel_uses_max: int
    def __init__(self, link_id: _Optional[str] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ..., frames: _Optional[int] = ..., channel_uses: _Optional[int] = ..., channel_uses_max: _Optional[int] = ...) -> None: ...

class ListLinksResponse(_message.Message):
    __slots__ = ("links",)
    LINKS_FIELD_NUMBER: _ClassVar[int]
    links: _containers.RepeatedCompositeFieldContainer[LinkStatus]
    def __init__(self, links: _Optional[_Iterable[_Union[LinkStatus, _Mapping]]] = ...) -> None: ...
