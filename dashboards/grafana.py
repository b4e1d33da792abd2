"""A dashboard in Grafana's own form, by Grafana's own library."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import RUNBOOK, Board, Choice, Kind, Panel, Query
from worker.edges.telemetry.metrics.definition import PREFIX

TAG = "appmetrica-worker"
SOURCE = DataSourceRef("prometheus", "$datasource")
ROW_HEIGHT, NUMBER_HEIGHT = 8, 4
# A range that shows the beginning of most incidents.
FROM = "now-3h"
_STACKED = common.StackingConfig().mode(shapes.StackingMode.NORMAL)
_Chart = timeseries.Panel | stat.Panel | statetimeline.Panel


def text(board: Board) -> str:
    """The dashboard as a file."""
    return JSONEncoder(sort_keys=True, indent=1).encode(_built(board).build()) + "\n"


def _built(board: Board) -> dashboard.Dashboard:
    built = (
        dashboard.Dashboard(board.title)
        .uid(f"{TAG}-{board.name}")
        .description(board.description)
        .tags([TAG])
        .time(FROM, "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .timezone("browser")
        .link(
            dashboard.DashboardLink("AppMetrica worker")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in _variables(board):
        built = built.with_variable(variable)
    number = 0
    for row in board.rows:
        built = built.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            number += 1
            built = built.with_panel(_chart(panel).id(number))
    return built


def _variables(
    board: Board,
) -> Iterator[dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.CustomVariable]:
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    of_group = 'namespace=~"$namespace",job=~"$job",group_id=~"$group"'
    # A job without a namespace has all of them.
    yield _values_of("namespace", "Namespace", "build_info", "").all_value(".*")
    yield _values_of("job", "Job", "build_info", 'namespace=~"$namespace"').all_value(".+")
    yield _values_of("group", "Group", "consumer_group_info", 'job=~"$job"', of="group_id")
    yield _values_of("instance", "Instance", "consumer_group_info", of_group)
    for choice in board.choices:
        yield _choice(choice)


def _values_of(
    name: str, label: str, metric: str, selector: str, of: str = ""
) -> dashboard.QueryVariable:
    series = f"{PREFIX}{metric}{{{selector}}}" if selector else f"{PREFIX}{metric}"
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": f"label_values({series}, {of or name})", "refId": name})
        # Workers of the shown time, not only those of now.
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(True, "All", "$__all"))
    )


def _choice(choice: Choice) -> dashboard.CustomVariable:
    first, *_ = choice.values
    options = [VariableOption(value == first, value, value) for value in choice.values]
    return (
        dashboard.CustomVariable(choice.name)
        .label(choice.label)
        .values(",".join(choice.values))
        .options(options)
        .current(options[0])
    )


def _chart(panel: Panel) -> _Chart:
    chart = _of_kind(panel)
    chart.title(panel.title).description(panel.description).datasource(SOURCE)
    chart.span(panel.width).unit(panel.unit)
    chart.height(NUMBER_HEIGHT if panel.kind is Kind.NUMBER else ROW_HEIGHT)
    if panel.minimum is not None:
        chart.min(panel.minimum)
    if panel.maximum is not None:
        chart.max(panel.maximum)
    if panel.empty:
        chart.no_value(panel.empty)
    if panel.thresholds or panel.kind is Kind.NUMBER:
        chart.thresholds(_thresholds(panel))
    if panel.states:
        chart.mappings([_mapping(panel)])
    if panel.runbook:
        link = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).target_blank(True)
        chart.links([link.url(f"{RUNBOOK}#{panel.runbook}")])
    for number, query in enumerate(panel.queries):
        target = _target(query, chr(ord("A") + number))
        # The last value of a series that has ended would look like a value of now.
        chart.with_target(target.instant() if panel.kind is Kind.NUMBER else target.range())
    return chart


def _of_kind(panel: Panel) -> _Chart:
    match panel.kind:
        case Kind.NUMBER:
            return (
                stat.Panel()
                .color_mode(shapes.BigValueColorMode.BACKGROUND)
                .graph_mode(shapes.BigValueGraphMode.NONE)
                .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
            )
        case Kind.STATES:
            return (
                statetimeline.Panel()
                .show_value(shapes.VisibilityMode.AUTO)
                .merge_values(True)
                .row_height(0.8)
                .fill_opacity(80)
                .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
            )
        case Kind.LINES | Kind.STACK:
            lines = timeseries.Panel().line_width(1).legend(_legend()).tooltip(_tooltip())
            if panel.kind is Kind.STACK:
                return lines.fill_opacity(40).stacking(_STACKED)
            if panel.thresholds:
                lines.thresholds_style(
                    common.GraphThresholdsStyleConfig().mode(shapes.GraphTresholdsStyleMode.DASHED)
                )
            return lines.fill_opacity(8)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions()
        .mode(shapes.TooltipDisplayMode.MULTI)
        .sort(shapes.SortOrder.DESCENDING)
    )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(None, panel.colour)]
    steps += [Threshold(one.value, one.colour) for one in panel.thresholds]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _mapping(panel: Panel) -> ValueMap:
    return ValueMap(
        {
            str(state.value): ValueMappingResult(state.text, state.colour, None, index)
            for index, state in enumerate(panel.states)
        }
    )


def _target(query: Query, reference: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.promql).legend_format(query.legend).ref_id(reference)
