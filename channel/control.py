"""Live control of the channel, for whom the gate lets in; see `thinwire.access.rpc`."""

import logging
from typing import Any, TypeAlias

import grpc.aio

from channel.links import LinkTable
from channel.profiles import Profile
from thinwire.errors import InvalidRequestError
from thinwire.rpc import abort
from thinwire.v1 import control_pb2, control_pb2_grpc

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_log = logging.getLogger(__name__)


class ChannelControl(control_pb2_grpc.ChannelControlServicer):
    """Reads and replaces the profiles of a proxy's links.

    Args:
        links: the table that the proxy uses.
    """

    def __init__(self, links: LinkTable) -> None:
        self._links = links

    async def GetProfile(self, request: control_pb2.GetProfileRequest, context: Context) -> control_pb2.Profile:  # noqa: N802
        """The profile in effect on a link: its own, or the default."""
        return self._links.profile(request.link_id).to_proto()

    async def SetProfile(self, request: control_pb2.SetProfileRequest, context: Context) -> control_pb2.Profile:  # noqa: N802
        """Replace a whole profile from the next frame on, and answer with what is in effect then.

        They differ where a trace is replayed: the default's SNR and symbol rate stay the trace's.
        """
        try:
            if not request.HasField("profile"):
                raise InvalidRequestError("the profile is missing")
            profile = Profile.from_proto(request.profile)
            self._links.set_profile(request.link_id, profile)
        except InvalidRequestError as error:
            await abort(context, error)
        _log.info("profile set", extra={"link_id": request.link_id, "profile": profile})
        return self._links.profile(request.link_id).to_proto()

    async def ListLinks(  # noqa: N802
        self, request: control_pb2.ListLinksRequest, context: Context
    ) -> control_pb2.ListLinksResponse:
        """Every link that the proxy knows, with its profile and what it has sent."""
        return control_pb2.ListLinksResponse(
            links=[
                control_pb2.LinkStatus(
                    link_id=link_id,
                    profile=self._links.profile(link_id).to_proto(),
                    frames=link.frames,
                    channel_uses=link.channel_uses,
                    channel_uses_max=link.channel_uses_max,
                )
                for link_id, link in self._links.links().items()
            ]
        )
