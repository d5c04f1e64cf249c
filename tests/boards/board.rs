//! Owns the structure of a board and its JSON for Grafana: panels laid out in rows of 24 columns, with their queries,
//! texts, units and colours. Colours follow norms only: a panel can express "one is too many", "1 is the norm" or "from
//! 0 to 1", but no other number.

use super::promql::Expr;
use super::words::{Language, Text};
use serde_json::{Map, Value, json};

/// The schema version of Grafana 12.4, which `check` validates the files against.
const SCHEMA: u32 = 42;
/// The number of columns of a board.
const WIDTH: u32 = 24;
/// Shown in place of a missing value.
const NO_VALUE: &str = "–";

pub(crate) struct Board {
    /// The prefix of its uid and of its file names.
    pub(crate) name: &'static str,
    pub(crate) title: Text,
    pub(crate) description: Text,
    /// The start of its default time range.
    pub(crate) time_range: &'static str,
    pub(crate) refresh: &'static str,
    pub(crate) variables: Vec<Variable>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) label: Text,
    /// The query for its values; without one, the variable is the data source.
    pub(crate) query: Option<String>,
    /// Whether several values may be selected; initially all are.
    pub(crate) multiple: bool,
    /// The initial selection; by default the first value.
    pub(crate) selected: Option<&'static str>,
}

/// Panels, optionally under a heading.
pub(crate) struct Row {
    pub(crate) heading: Option<Text>,
    /// Whether it is initially collapsed.
    pub(crate) collapsed: bool,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    pub(crate) title: Text,
    /// What it shows, and what to do about it.
    pub(crate) description: Text,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// Stats side by side.
    Stats(Vec<Field>),
    /// A stat that is red from the value of a second query on.
    StatWithThreshold(Field, Expr),
    /// One row per combination of the keys, in descending order of the field with index `sorted`.
    Table { keys: Vec<Key>, fields: Vec<Field>, sorted: usize },
    /// Lines over time.
    TimeSeries { unit: Unit, stacked: bool, lines: Vec<Line> },
}

/// A named query with one value per series.
pub(crate) struct Field {
    pub(crate) name: Text,
    pub(crate) unit: Unit,
    pub(crate) coloring: Coloring,
    pub(crate) expr: Expr,
}

/// A label as a column of a table.
pub(crate) struct Key {
    pub(crate) label: &'static str,
    pub(crate) name: Text,
    pub(crate) width: u32,
    pub(crate) display: Display,
    /// Display names of label values.
    pub(crate) value_names: Vec<(&'static str, Text)>,
    /// The title of a link that sets the variable of a label to the value of that label.
    pub(crate) link: Option<(Text, &'static str)>,
}

/// Whether the column of a key is shown. Any key splits the rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Display {
    Shown,
    /// Not shown; links can use its value.
    Hidden,
    Dropped,
}

pub(crate) struct Line {
    /// The legend; `{{label}}` is replaced by the value of the label.
    pub(crate) legend: Text,
    /// Whether this is a norm or a limit for the other lines; drawn dashed in red.
    pub(crate) norm: bool,
    pub(crate) expr: Expr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    /// Seconds, shown as hours, minutes and seconds.
    Duration,
    /// Seconds, for durations as short as those of commits.
    ShortDuration,
    /// A share, or a multiple of a norm, in percent.
    Ratio,
    Score,
    PerSecond,
    Bytes,
    BytesPerSecond,
}

impl Unit {
    /// The id of the unit in Grafana, and the number of decimals to show.
    fn grafana_unit(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Count => ("none", Some(0)),
            Self::Duration => ("dthms", None),
            Self::ShortDuration => ("s", None),
            Self::Ratio => ("percentunit", Some(0)),
            Self::Score => ("none", Some(0)),
            Self::PerSecond => ("ops", None),
            Self::Bytes => ("bytes", None),
            Self::BytesPerSecond => ("Bps", None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coloring {
    Plain,
    /// One is too many.
    Bad,
    /// A share: 1 is right, less is red.
    All,
    /// A multiple of its norm: 1 or more is red.
    AtMost,
    /// A multiple of its norm: less than 1 is red.
    AtLeast,
    /// A share, coloured from bad at 0 to good at 1.
    Gradient,
    /// A share, shown as a bar.
    RatioBar,
    /// A count, shown as a bar.
    CountBar,
    /// Texts for −1, 0 and 1: worse, no difference, better.
    Verdict([Text; 3]),
}

impl Coloring {
    /// Thresholds of the colours; `normal_color` is the colour of values within the norm.
    fn steps(self, normal_color: &str) -> Option<Value> {
        let steps = match self {
            Self::Bad | Self::AtMost => json!([{"color": normal_color, "value": null}, {"color": "red", "value": 1}]),
            Self::All | Self::AtLeast => json!([{"color": "red", "value": null}, {"color": normal_color, "value": 1}]),
            Self::Plain | Self::Gradient | Self::RatioBar | Self::CountBar | Self::Verdict(_) => return None,
        };
        Some(json!({"mode": "absolute", "steps": steps}))
    }

    fn color(self) -> Value {
        match self {
            Self::Bad | Self::All | Self::AtMost | Self::AtLeast => json!({"mode": "thresholds"}),
            Self::Gradient => json!({"mode": "continuous-RdYlGr"}),
            Self::RatioBar | Self::CountBar => json!({"mode": "fixed", "fixedColor": "semi-dark-orange"}),
            Self::Plain | Self::Verdict(_) => json!({"mode": "fixed", "fixedColor": "text"}),
        }
    }

    /// The options of a table cell.
    fn cell(self) -> Value {
        match self {
            Self::Plain => json!({"type": "auto"}),
            Self::Bad | Self::All | Self::AtMost | Self::AtLeast => {
                json!({"type": "color-background", "mode": "basic"})
            }
            Self::Gradient | Self::RatioBar | Self::CountBar => {
                json!({"type": "gauge", "mode": "basic", "valueDisplayMode": "text"})
            }
            Self::Verdict(_) => json!({"type": "color-text"}),
        }
    }

    fn mappings(self, language: Language) -> Value {
        let Self::Verdict(words) = self else { return json!([]) };
        let mut options = Map::new();
        for ((value, color), words) in [("-1", "red"), ("0", "text"), ("1", "green")].into_iter().zip(words) {
            options.insert(value.into(), json!({"text": language.of(words), "color": color}));
        }
        json!([{"type": "value", "options": options}])
    }

    /// The ends of the scale of a bar.
    fn scale(self) -> Option<(u32, u32)> {
        matches!(self, Self::Gradient | Self::RatioBar).then_some((0, 1))
    }
}

impl Board {
    pub(crate) fn uid(&self, language: Language) -> String {
        format!("funnelwatch-{}-{}", self.name, language.code())
    }

    /// The dashboard JSON.
    pub(crate) fn json(&self, language: Language) -> Value {
        let mut layout = Layout { language, board: self, id: 0, y: 0 };
        let panels: Vec<Value> = self.rows.iter().flat_map(|row| layout.row(row)).collect();
        json!({
            "uid": self.uid(language),
            "title": language.of(self.title),
            "description": language.of(self.description),
            "tags": ["funnelwatch", language.code()],
            "schemaVersion": SCHEMA,
            "editable": true,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": {"from": self.time_range, "to": "now"},
            "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m"]},
            "timezone": "browser",
            "templating": {"list": self.variables.iter().map(|variable| variable.json(language)).collect::<Vec<_>>()},
            "annotations": {"list": []},
            "links": [{
                "type": "dashboards",
                "title": language.of(["Boards", "Дашборды"]),
                "tooltip": language.of(["Other boards", "Другие дашборды"]),
                "tags": ["funnelwatch", language.code()],
                "icon": "external link",
                "asDropdown": false,
                "includeVars": false,
                "keepTime": true,
                "targetBlank": false,
            }],
            "panels": panels,
        })
    }
}

impl Variable {
    fn json(&self, language: Language) -> Value {
        let mut variable = json!({
            "name": self.name,
            "label": language.of(self.label),
            "type": "datasource",
            "query": "prometheus",
            "hide": 0,
            "includeAll": self.multiple,
            "multi": self.multiple,
            "refresh": 1,
            "options": [],
        });
        if let Some(query) = &self.query {
            variable["type"] = "query".into();
            variable["datasource"] = datasource();
            variable["query"] =
                json!({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"});
            // Refresh with the time range: managers may change while the board is open.
            variable["refresh"] = 2.into();
            variable["sort"] = 7.into();
        }
        if self.multiple {
            variable["allValue"] = ".*".into();
            variable["current"] = json!({"text": ["All"], "value": ["$__all"]});
        }
        if let Some(selected) = self.selected {
            variable["current"] = json!({"text": selected, "value": selected});
        }
        variable
    }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// The `refId` of a query of a panel.
fn reference(index: usize) -> String {
    char::from(b'A' + u8::try_from(index).expect("fewer than 256 queries")).to_string()
}

/// Positions panels and assigns their ids.
struct Layout<'a> {
    language: Language,
    board: &'a Board,
    id: u32,
    y: u32,
}

impl Layout<'_> {
    fn next_id(&mut self) -> u32 {
        self.id += 1;
        self.id
    }

    fn row(&mut self, row: &Row) -> Vec<Value> {
        let heading = row.heading.map(|heading| {
            let grid_pos = json!({"x": 0, "y": self.y, "w": WIDTH, "h": 1});
            self.y += 1;
            json!({
                "id": self.next_id(),
                "type": "row",
                "title": self.language.of(heading),
                "collapsed": row.collapsed,
                "gridPos": grid_pos,
                "panels": [],
            })
        });
        let (mut x, mut height) = (0, 0);
        let mut panels = Vec::new();
        for panel in &row.panels {
            if x + panel.width > WIDTH {
                (x, self.y, height) = (0, self.y + height, 0);
            }
            let grid_pos = json!({"x": x, "y": self.y, "w": panel.width, "h": panel.height});
            (x, height) = (x + panel.width, height.max(panel.height));
            panels.push(self.panel(panel, grid_pos));
        }
        self.y += height;
        match heading {
            Some(mut heading) if row.collapsed => {
                heading["panels"] = panels.into();
                vec![heading]
            }
            heading => heading.into_iter().chain(panels).collect(),
        }
    }

    fn panel(&mut self, panel: &Panel, grid_pos: Value) -> Value {
        let mut value = match &panel.body {
            Body::Stats(fields) => self.stats(fields),
            Body::StatWithThreshold(field, threshold) => self.stat_with_threshold(field, threshold),
            Body::Table { keys, fields, sorted } => self.table(keys, fields, *sorted),
            Body::TimeSeries { unit, stacked, lines } => self.time_series(*unit, *stacked, lines),
        };
        value["id"] = self.next_id().into();
        value["title"] = self.language.of(panel.title).into();
        value["description"] = self.language.of(panel.description).into();
        value["gridPos"] = grid_pos;
        value["datasource"] = datasource();
        value
    }

    /// An instant query if `now`, else a range query.
    fn target(&self, index: usize, expr: &Expr, now: bool, format: &str, legend: Option<Text>) -> Value {
        let mut target = json!({
            "refId": reference(index),
            "datasource": datasource(),
            "editorMode": "code",
            "expr": expr.text(),
            "format": format,
            "instant": now,
            "range": !now,
        });
        if let Some(legend) = legend {
            target["legendFormat"] = self.language.of(legend).into();
        }
        target
    }

    fn stats(&self, fields: &[Field]) -> Value {
        let targets = fields.iter().enumerate();
        let targets =
            targets.map(|(index, field)| self.target(index, &field.expr, true, "time_series", Some(field.name)));
        let overrides = fields.iter().enumerate().map(|(index, field)| {
            let mut properties = vec![property("color", field.coloring.color())];
            properties.extend(field.coloring.steps("green").map(|steps| property("thresholds", steps)));
            properties.extend(unit_properties(field.unit));
            properties.extend(scale_properties(field.coloring));
            json!({"matcher": {"id": "byFrameRefID", "options": reference(index)}, "properties": properties})
        });
        let (targets, overrides): (Vec<_>, Vec<_>) = (targets.collect(), overrides.collect());
        // Several values need their names; a single one is described by the title of the panel.
        let named = fields.len() > 1 || fields.iter().any(|field| field.name[0].contains("{{"));
        let text = if named { "value_and_name" } else { "value" };
        json!({
            "type": "stat",
            "targets": targets,
            "fieldConfig": {"defaults": {"noValue": NO_VALUE}, "overrides": overrides},
            "options": stat_options(text),
        })
    }

    fn stat_with_threshold(&self, field: &Field, threshold: &Expr) -> Value {
        let limit = ["limit", "limit"];
        let mut defaults = json!({"noValue": NO_VALUE, "color": {"mode": "thresholds"}});
        for property in unit_properties(field.unit) {
            let id = property["id"].as_str().unwrap_or_default();
            defaults[id] = property["value"].clone();
        }
        json!({
            "type": "stat",
            "targets": [
                self.target(0, &field.expr, true, "time_series", Some(field.name)),
                self.target(1, threshold, true, "time_series", Some(limit)),
            ],
            "transformations": [{
                "id": "configFromData",
                "options": {
                    "configRefId": reference(1),
                    "mappings": [{"fieldName": "limit", "handlerKey": "threshold1", "reducerId": "lastNotNull"}],
                },
            }],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": stat_options("value"),
        })
    }

    fn table(&self, keys: &[Key], fields: &[Field], sorted: usize) -> Value {
        let mut labels: Vec<&str> = keys.iter().map(|key| key.label).collect();
        labels.sort_unstable();
        let targets = fields.iter().enumerate().map(|(index, field)| {
            let mut expr_labels: Vec<&str> = field.expr.labels().to_vec();
            expr_labels.sort_unstable();
            assert_eq!(expr_labels, labels, "the labels of {} differ from the keys of its table", field.expr.text());
            self.target(index, &field.expr, true, "table", None)
        });
        let value_of = |index| if fields.len() == 1 { "Value".into() } else { format!("Value #{}", reference(index)) };
        let order: Map<String, Value> = keys
            .iter()
            .map(|key| key.label.to_owned())
            .chain((0..fields.len()).map(value_of))
            .enumerate()
            .map(|(index, name)| (name, index.into()))
            .collect();
        let mut overrides: Vec<Value> =
            keys.iter().filter(|key| key.display != Display::Dropped).map(|key| self.key(key)).collect();
        overrides.extend(fields.iter().enumerate().map(|(index, field)| self.column(&value_of(index), field)));
        let mut transformations = Vec::new();
        if fields.len() > 1 {
            transformations.push(json!({"id": "merge", "options": {}}));
        }
        let hidden = keys.iter().filter(|key| key.display == Display::Dropped).map(|key| key.label);
        let hidden: Map<String, Value> =
            ["Time"].into_iter().chain(hidden).map(|name| (name.into(), true.into())).collect();
        transformations.push(json!({
            "id": "organize",
            "options": {"excludeByName": hidden, "indexByName": order, "includeByName": {}, "renameByName": {}},
        }));
        json!({
            "type": "table",
            "targets": targets.collect::<Vec<_>>(),
            "transformations": transformations,
            "fieldConfig": {
                "defaults": {
                    "noValue": NO_VALUE,
                    "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "inspect": false, "wrapHeaderText": true},
                },
                "overrides": overrides,
            },
            "options": {
                "showHeader": true,
                "cellHeight": "sm",
                "frameIndex": 0,
                "sortBy": [{"displayName": self.language.of(fields[sorted].name), "desc": true}],
            },
        })
    }

    fn key(&self, key: &Key) -> Value {
        let matcher = json!({"id": "byName", "options": key.label});
        if key.display == Display::Hidden {
            return json!({"matcher": matcher, "properties": [property("custom.hideFrom.viz", true.into())]});
        }
        let mut properties = vec![
            property("displayName", self.language.of(key.name).into()),
            property("custom.width", key.width.into()),
        ];
        if !key.value_names.is_empty() {
            let value_names = key.value_names.iter().enumerate().map(|(index, (value, text))| {
                ((*value).to_owned(), json!({"text": self.language.of(*text), "index": index}))
            });
            let options: Map<String, Value> = value_names.collect();
            properties.push(property("mappings", json!([{"type": "value", "options": options}])));
        }
        if let Some((title, label)) = key.link {
            let kept = self.board.variables.iter().filter(|variable| variable.name != label);
            let kept: Vec<String> = kept.map(|variable| format!("${{{}:queryparam}}", variable.name)).collect();
            let uid = self.board.uid(self.language);
            let url =
                format!("/d/{uid}?{}&var-{label}=${{__data.fields.{label}}}&${{__url_time_range}}", kept.join("&"));
            properties.push(property("links", json!([{"title": self.language.of(title), "url": url}])));
        }
        json!({"matcher": matcher, "properties": properties})
    }

    fn column(&self, name: &str, field: &Field) -> Value {
        let mut properties = vec![
            property("displayName", self.language.of(field.name).into()),
            property("custom.minWidth", min_width(field).into()),
            property("custom.cellOptions", field.coloring.cell()),
            property("color", field.coloring.color()),
        ];
        properties.extend(unit_properties(field.unit));
        properties.extend(scale_properties(field.coloring));
        properties.extend(field.coloring.steps("transparent").map(|steps| property("thresholds", steps)));
        if let Coloring::Verdict(_) = field.coloring {
            properties.push(property("mappings", field.coloring.mappings(self.language)));
        }
        json!({"matcher": {"id": "byName", "options": name}, "properties": properties})
    }

    fn time_series(&self, unit: Unit, stacked: bool, lines: &[Line]) -> Value {
        let targets = lines.iter().enumerate();
        let targets =
            targets.map(|(index, line)| self.target(index, &line.expr, false, "time_series", Some(line.legend)));
        let norms = lines.iter().enumerate().filter(|(_, line)| line.norm).map(|(index, _)| {
            let properties = [
                property("color", json!({"mode": "fixed", "fixedColor": "red"})),
                property("custom.lineStyle", json!({"fill": "dash", "dash": [10, 10]})),
                property("custom.lineWidth", 2.into()),
                property("custom.fillOpacity", 0.into()),
                property("custom.stacking", json!({"mode": "none"})),
            ];
            json!({"matcher": {"id": "byFrameRefID", "options": reference(index)}, "properties": properties})
        });
        let (targets, norms): (Vec<_>, Vec<_>) = (targets.collect(), norms.collect());
        let mut defaults = json!({
            "color": {"mode": "palette-classic"},
            "custom": {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if stacked { 30 } else { 0 },
                "showPoints": "never",
                "spanNulls": false,
                "axisSoftMin": 0,
                "stacking": {"mode": if stacked { "normal" } else { "none" }},
            },
        });
        for property in unit_properties(unit).filter(|property| property["id"] == "unit") {
            defaults["unit"] = property["value"].clone();
        }
        json!({
            "type": "timeseries",
            "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": norms},
            "options": {
                "legend": {"showLegend": true, "displayMode": "list", "placement": "bottom", "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            },
        })
    }
}

/// The minimum width of a column in pixels, for its value and for the longest word of its name in either language.
fn min_width(field: &Field) -> usize {
    let value = match (field.unit, field.coloring) {
        (Unit::Duration, _) => 9,
        (_, Coloring::Gradient | Coloring::RatioBar | Coloring::CountBar) => 9,
        _ => 5,
    };
    let words = field.name.iter().flat_map(|name| name.split(' ')).map(|word| word.chars().count());
    16 + 7 * words.chain([value]).max().unwrap_or_default()
}

fn property(id: &str, value: Value) -> Value {
    json!({"id": id, "value": value})
}

/// The overrides for a unit.
fn unit_properties(unit: Unit) -> impl Iterator<Item = Value> {
    let (id, decimals) = unit.grafana_unit();
    [property("unit", id.into())].into_iter().chain(decimals.map(|decimals| property("decimals", decimals.into())))
}

/// The overrides for a scale.
fn scale_properties(coloring: Coloring) -> impl Iterator<Item = Value> {
    coloring.scale().into_iter().flat_map(|(min, max)| [property("min", min.into()), property("max", max.into())])
}

/// The options of a stat panel.
fn stat_options(text: &str) -> Value {
    json!({
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        "showPercentChange": false,
        "textMode": text,
        "wideLayout": false,
    })
}
