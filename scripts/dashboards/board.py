"""What all dashboards share: the choice of workers, the look of a panel, the links to each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel
Queries = Mapping[str, str]
"""By its legend, each query of a panel."""

WIDTH = 24
_SOURCE = models.DataSourceRef("prometheus", "${datasource}")
_WORKERS = 'job=~"$job", instance=~"$instance"'
_TAG = "streamfold"


# Queries


def chosen(metric: str, matchers: str = "") -> str:
    """The series of a metric that belong to the workers that are chosen."""
    return f"{metric}{{{_WORKERS}{', ' if matchers else ''}{matchers}}}"


def rate(metric: str, matchers: str = "") -> str:
    """How quickly a counter grows, per second."""
    return f"rate({chosen(metric, matchers)}[$__rate_interval])"


def summed(series: str, *labels: str) -> str:
    """The sum over workers, and over all labels but these."""
    return f"sum by ({', '.join(labels)}) ({series})" if labels else f"sum({series})"


def quantile(fraction: float, histogram: str, *labels: str, matchers: str = "") -> str:
    """A quantile of a histogram over all workers."""
    return f"histogram_quantile({fraction}, {summed(rate(f'{histogram}_bucket', matchers), 'le', *labels)})"


def quantiles(histogram: str, label: str, matchers: str = "") -> Queries:
    """The median, and what one in ten and one in a hundred exceeds."""
    return {
        f"{name} {{{{{label}}}}}": quantile(fraction, histogram, label, matchers=matchers)
        for name, fraction in (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99))
    }


# Panels


def lines(title: str, description: str, unit: str, queries: Queries, *, width: int = 12) -> timeseries.Panel:
    """A panel of curves over time."""
    legend = (
        common.VizLegendOptions()
        .display_mode(looks.LegendDisplayMode.TABLE)
        .placement(looks.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(_SOURCE)
    panel = panel.legend(legend).tooltip(tooltip).fill_opacity(8).show_points(looks.VisibilityMode.NEVER)
    for number, (name, query) in enumerate(queries.items()):
        panel = panel.with_target(_target(number, query).legend_format(name).range())
    return panel.span(width).height(8)


def number(title: str, description: str, unit: str, query: str, *, width: int = 4) -> stat.Panel:
    """A panel of one number, with its course behind it."""
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(_SOURCE)
    panel = panel.reduce_options(last).graph_mode(looks.BigValueGraphMode.AREA)
    return panel.with_target(_target(0, query).legend_format(title).range()).span(width).height(4)


def states(
    title: str, description: str, query: str, legend: str, names: Mapping[str, tuple[str, str]], *, width: int = 12
) -> statetimeline.Panel:
    """A panel of which state each series was in; ``names`` gives text and colour of each value."""
    results = {value: models.ValueMappingResult(text=text, color=color) for value, (text, color) in names.items()}
    panel = statetimeline.Panel().title(title).description(description).unit("none").datasource(_SOURCE)
    panel = panel.mappings([models.ValueMap(options=results)]).show_value(looks.VisibilityMode.NEVER)
    return panel.with_target(_target(0, query).legend_format(legend).range()).span(width).height(8)


def rows(title: str, description: str, query: str, *, width: int = 12) -> table.Panel:
    """A panel of the labels that there are now, a row for each series."""
    hidden = models.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True, "Value": True, "__name__": True}}
    )
    panel = table.Panel().title(title).description(description).unit("none").datasource(_SOURCE)
    panel = panel.with_transformation(hidden)
    return panel.with_target(_target(0, query).instant().format(PromQueryFormat.TABLE)).span(width).height(8)


def _target(number: int, query: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query).ref_id(chr(ord("A") + number)).datasource(_SOURCE)


# Dashboards


def choice(
    name: str, metric: str, description: str, *, label: str = "", matchers: str = "", multi: bool = True
) -> builders.QueryVariable:
    """A variable: which values of a label (the name, unless told otherwise) to show, all unless told otherwise."""
    series = f"{metric}{{{matchers}}}"
    variable = builders.QueryVariable(name).label(name.title()).description(description).datasource(_SOURCE)
    variable = variable.query({"query": f"label_values({series}, {label or name})", "refId": name})
    variable = variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    if not multi:
        return variable.multi(False).include_all(False)
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return variable.multi(True).include_all(True).all_value(".+").current(everything)


def board(
    name: str,
    title: str,
    description: str,
    choices: Sequence[builders.QueryVariable],
    parts: Mapping[str, Sequence[Panel]],
) -> models.Dashboard:
    """A dashboard with a row of panels for each part."""
    source = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    made = (
        builders.Dashboard(f"streamfold: {title}")
        .uid(f"streamfold-{name}")
        .description(description)
        .tags([_TAG])
        .readonly()
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .with_variable(source.description("The Prometheus that scrapes the workers."))
        .with_variable(choice("job", "streamfold_ready", "The scrape jobs of the workers."))
        .with_variable(
            choice("instance", "streamfold_ready", "The workers of these jobs.", matchers='job=~"$job"'),
        )
    )
    for variable in choices:
        made = made.with_variable(variable)
    identity = 0
    for part, panels in parts.items():
        identity += 1
        made = made.with_row(builders.Row(part).id(identity))
        for panel in panels:
            identity += 1
            made = made.with_panel(panel.id(identity))
    return made.build()


def _others() -> builders.DashboardLink:
    """The other dashboards, for the same workers and the same time."""
    link = builders.DashboardLink("streamfold").type(models.DashboardLinkType.DASHBOARDS).tags([_TAG])
    return link.include_vars(True).keep_time(True).as_dropdown(False)


def as_json(made: models.Dashboard) -> str:
    """The file that Grafana loads."""
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
