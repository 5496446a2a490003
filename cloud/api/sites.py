"""Where water is watched, and what of it is missing."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from cloud.api.pages import linked
from cloud.api.params import (
    DEFAULT_ROWS,
    AfterEpoch,
    AfterHub,
    AfterSequence,
    AfterSite,
    Hub,
    RowLimit,
)
from cloud.api.problem import documented
from cloud.api.shapes import GapList
from cloud.read.gaps import as_gaps
from cloud.read.ports import GapReader, Overview
from cloud.read.sites import as_features
from wire.ids import Epoch, HubId

GEOJSON: Final = "application/geo+json"
_GAPS: Final[dict[int | str, dict[str, Any]]] = {200: {"model": GapList}, **documented(422, 503)}


def _sites_documented() -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/Sites"}
    return {
        200: {"description": "GeoJSON", "content": {GEOJSON: {"schema": schema}}},
        **documented(422, 503),
    }


def site_routes(overview: Overview, gap_reader: GapReader) -> APIRouter:
    """Return ``/api/sites`` and ``/api/gaps``."""
    router = APIRouter(prefix="/api")

    @router.get(
        "/sites",
        operation_id="listSites",
        tags=["sites"],
        responses=_sites_documented(),
        response_class=Response,  # no JSON but GeoJSON
    )
    async def sites(
        request: Request, limit: RowLimit = DEFAULT_ROWS, after: AfterSite = 0
    ) -> Response:
        """Return the sites as a GeoJSON FeatureCollection; the next page is in the Link header."""
        rows = await overview.sites(after, limit)
        cursor = {"after": rows[-1]["site_id"]} if len(rows) == limit else None
        return linked(request, as_features(rows), cursor, GEOJSON)

    @router.get("/gaps", operation_id="listGaps", tags=["gaps"], responses=_GAPS)
    async def gaps(
        request: Request,
        hub_id: Hub = None,
        limit: RowLimit = DEFAULT_ROWS,
        after_hub: AfterHub = "",
        after_epoch: AfterEpoch = -1,
        after_sequence: AfterSequence = -1,
    ) -> Response:
        """Return what is missing, since when and why; the next page is in the Link header."""
        hub = None if hub_id is None else HubId(hub_id)
        after = (HubId(after_hub), Epoch(after_epoch), after_sequence)
        holes = await gap_reader.holes(hub, after, limit)
        cursor = None
        if len(holes) == limit:
            last = holes[-1]
            cursor = {"after_hub": last.hub_id, "after_epoch": last.epoch}
            cursor |= {"after_sequence": last.low}
        return linked(request, as_gaps(holes), cursor)

    return router
