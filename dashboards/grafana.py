"""What a panel and a dashboard are in Grafana's JSON. source.py says what is shown; make.py writes it."""

PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
POSTGRES = {"type": "grafana-postgresql-datasource", "uid": "${postgres}"}
TRACE_LINK = {
    "title": "Everything about this trace",
    "url": "/d/noctus-trace?var-trace=${__value.raw}",
    "targetBlank": False,
}


def steps(*pairs):
    """Thresholds: the first colour holds from the start."""
    return {"mode": "absolute", "steps": [{"color": color, "value": at} for color, at in pairs]}


GREEN = steps(("green", None))
ZERO = steps(("green", None), ("red", 1))  # must stay 0


def limit(warning, critical=None):
    """Green below, then orange, then red."""
    pairs = [("green", None), ("orange", warning)]
    return steps(*pairs, *([("red", critical)] if critical is not None else []))


def prom(expr, legend="", instant=False):
    """A query to Prometheus."""
    return {
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": " ".join(expr.split()),
        "legendFormat": legend or "__auto",
        "instant": instant,
        "range": not instant,
    }


def sql(text, series=False):
    """A query to Postgres; series: its rows are (time, [metric,] values)."""
    return {
        "datasource": POSTGRES,
        "editorMode": "code",
        "format": "time_series" if series else "table",
        "rawQuery": True,
        "rawSql": "\n".join(line.strip() for line in text.strip().splitlines()),
    }


class Panel:
    """A panel; width of 24, height in Grafana's units."""

    def __init__(self, kind, title, about, queries, unit="short", width=8, height=8, thresholds=GREEN,
                 stacked=False, decimals=None, traces=(), overrides=()):
        self.kind, self.title, self.about = kind, title, about
        self.queries = queries if isinstance(queries, list) else [queries]
        self.unit, self.width, self.height = unit, width, height
        self.thresholds, self.stacked, self.decimals = thresholds, stacked, decimals
        self.traces, self.overrides = traces, list(overrides)

    def json(self, number, x, y):
        defaults = {"unit": self.unit, "thresholds": self.thresholds, "color": {"mode": "palette-classic"}}
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        overrides = self.overrides + [
            {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "links", "value": [TRACE_LINK]}]}
            for name in self.traces
        ]
        if self.kind == "timeseries":
            style = "area" if any(s["value"] is not None for s in self.thresholds["steps"]) else "off"
            defaults["custom"] = {
                "lineWidth": 1,
                "fillOpacity": 30 if self.stacked else 10,
                "showPoints": "auto",
                "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": style},
            }
        if self.kind in ("stat", "bargauge"):
            defaults["color"] = {"mode": "thresholds"}
        panel = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": self.queries[0]["datasource"],
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "fieldConfig": {"defaults": defaults, "overrides": overrides},
            "targets": [{"refId": chr(65 + nth), **self.shaped(query)} for nth, query in enumerate(self.queries)],
            "options": self.options(),
        }
        return panel

    def shaped(self, query):
        """What a table asks of Prometheus comes as columns."""
        is_rows = self.kind == "table" and query["datasource"] is PROMETHEUS
        return {**query, "format": "table"} if is_rows else query

    def options(self):
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": self.kind == "bargauge"}
        return {
            "timeseries": {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
            "stat": {"reduceOptions": reduce, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
            "bargauge": {"reduceOptions": reduce, "displayMode": "basic", "orientation": "horizontal"},
            "table": {"showHeader": True, "cellHeight": "sm"},
        }[self.kind]


def graph(title, about, queries, **more):
    """Lines over time."""
    return Panel("timeseries", title, about, queries, **more)


def stat(title, about, query, **more):
    """One number, with a colour."""
    return Panel("stat", title, about, query, **{"width": 4, "height": 4, **more})


def bars(title, about, query, **more):
    """A bar for each row."""
    return Panel("bargauge", title, about, query, **more)


def table(title, about, query, **more):
    """Rows; columns named in `traces` lead to their trace."""
    return Panel("table", title, about, query, **{"width": 24, **more})


def laid_out(panels):
    """From left to right; the next row begins below the highest panel of the one before."""
    placed, x, y, highest = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y, highest = 0, y + highest, 0
        placed.append(panel.json(number, x, y))
        x, highest = x + panel.width, max(highest, panel.height)
    return placed


def source_variable(name, label, kind, uid, text):
    return {
        "name": name,
        "label": label,
        "type": "datasource",
        "query": kind,
        "current": {"selected": True, "text": text, "value": uid},
        "hide": 2,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
    }


def dashboard(uid, title, about, panels, since="now-6h", trace=False):
    """A whole dashboard, as it is provisioned."""
    variables = [
        source_variable("prometheus", "Prometheus", "prometheus", "noctus-prometheus", "Prometheus"),
        source_variable("postgres", "Postgres", "grafana-postgresql-datasource", "noctus-postgres", "Postgres"),
    ]
    if trace:
        variables.append({"name": "trace", "label": "Trace", "type": "textbox", "query": "", "hide": 0,
                          "current": {"selected": True, "text": "", "value": ""}, "options": []})
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["noctus"],
        "editable": False,
        "graphTooltip": 1,
        "liveNow": False,
        "refresh": "30s",
        "schemaVersion": 41,
        "version": 1,
        "time": {"from": since, "to": "now"},
        "timepicker": {},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["noctus"], "title": "Noctus", "asDropdown": True,
                   "includeVars": False, "keepTime": True, "targetBlank": False, "icon": "external link",
                   "tooltip": "", "url": ""}],
        "templating": {"list": variables},
        "panels": laid_out(panels),
    }
