//! Owns what a board is made of, and how that is written for Grafana: panels that flow into rows of 24 columns, with
//! their queries, texts, units and colours. Colours follow norms and nothing else: a panel can say "one is too many",
//! "1 is the norm" or "from 0 to 1", but it cannot name any other number.

use crate::promql::Expr;
use crate::words::{Language, Text};
use serde_json::{Map, Value, json};

/// The schema of Grafana 12.4, against which `check` holds what is written.
const SCHEMA: u32 = 42;
/// Columns of a board.
const WIDTH: u32 = 24;
/// What stands in a cell when there is nothing to say.
const NOTHING: &str = "–";

pub(crate) struct Board {
    /// The beginning of its uid and of the names of its files.
    pub(crate) name: &'static str,
    pub(crate) title: Text,
    pub(crate) says: Text,
    /// How far back its curves go.
    pub(crate) back: &'static str,
    pub(crate) refresh: &'static str,
    pub(crate) variables: Vec<Variable>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) label: Text,
    /// Asks for its values; without it, it is the data source.
    pub(crate) query: Option<String>,
    /// Several may be chosen, and all are at first.
    pub(crate) many: bool,
    /// What is chosen at first; nothing is the first there is.
    pub(crate) preset: Option<&'static str>,
}

/// Panels under a heading.
pub(crate) struct Row {
    pub(crate) heading: Option<Text>,
    /// Closed at first.
    pub(crate) folded: bool,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    pub(crate) title: Text,
    /// What it says, and what to do about it.
    pub(crate) says: Text,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) body: Body,
}

pub(crate) enum Body {
    /// Big numbers side by side.
    Numbers(Vec<Field>),
    /// One big number that is red from another one on.
    Judged(Field, Expr),
    /// A row for each combination of the keys; the biggest of field `sorted` first.
    Table { keys: Vec<Key>, fields: Vec<Field>, sorted: usize },
    /// Curves over time.
    Curves { unit: Unit, stacked: bool, lines: Vec<Line> },
}

/// A number with its name.
pub(crate) struct Field {
    pub(crate) name: Text,
    pub(crate) unit: Unit,
    pub(crate) paint: Paint,
    pub(crate) expr: Expr,
}

/// A label as a column of a table.
pub(crate) struct Key {
    pub(crate) label: &'static str,
    pub(crate) name: Text,
    pub(crate) width: u32,
    /// Whether there is room for it; rows are one for each of its values all the same.
    pub(crate) shown: bool,
    /// What values are called.
    pub(crate) called: Vec<(&'static str, Text)>,
    /// The variable that a click sets to the value.
    pub(crate) sets: Option<Text>,
}

pub(crate) struct Line {
    /// What the legend says; `{{label}}` stands for the label's value.
    pub(crate) legend: Text,
    /// A norm or a limit, by which the others are to be seen.
    pub(crate) norm: bool,
    pub(crate) expr: Expr,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Count,
    /// Seconds, as hours, minutes and seconds.
    Length,
    /// Seconds, as short as commits are.
    Moment,
    /// A share, or how many times its norm something is, in percent.
    Share,
    Score,
    PerSecond,
    Bytes,
    BytesPerSecond,
}

impl Unit {
    /// The id that Grafana knows it by, and how many decimals are worth reading.
    fn shown(self) -> (&'static str, Option<u32>) {
        match self {
            Self::Count => ("none", Some(0)),
            Self::Length => ("dthms", None),
            Self::Moment => ("s", None),
            Self::Share => ("percentunit", Some(0)),
            Self::Score => ("none", Some(0)),
            Self::PerSecond => ("ops", None),
            Self::Bytes => ("bytes", None),
            Self::BytesPerSecond => ("Bps", None),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    /// One is too many.
    Bad,
    /// All of them is right, fewer is not: a share of 1.
    All,
    /// Times its norm: more than 1 is too much.
    AtMost,
    /// Times its norm: less than 1 is too little.
    AtLeast,
    /// A share, from bad at 0 to good at 1.
    Good,
    /// A share to be seen as a bar.
    Bar,
    /// A count to be seen as a bar.
    Heap,
    /// −1, 0 and 1: worse, no difference, better.
    Verdict([Text; 3]),
}

impl Paint {
    /// Thresholds at which colours begin; `calm` is that of what needs no look.
    fn steps(self, calm: &str) -> Option<Value> {
        let steps = match self {
            Self::Bad | Self::AtMost => json!([{"color": calm, "value": null}, {"color": "red", "value": 1}]),
            Self::All | Self::AtLeast => json!([{"color": "red", "value": null}, {"color": calm, "value": 1}]),
            Self::Plain | Self::Good | Self::Bar | Self::Heap | Self::Verdict(_) => return None,
        };
        Some(json!({"mode": "absolute", "steps": steps}))
    }

    fn color(self) -> Value {
        match self {
            Self::Bad | Self::All | Self::AtMost | Self::AtLeast => json!({"mode": "thresholds"}),
            Self::Good => json!({"mode": "continuous-RdYlGr"}),
            Self::Bar | Self::Heap => json!({"mode": "fixed", "fixedColor": "semi-dark-orange"}),
            Self::Plain | Self::Verdict(_) => json!({"mode": "fixed", "fixedColor": "text"}),
        }
    }

    /// How a cell of a table shows it.
    fn cell(self) -> Value {
        match self {
            Self::Plain => json!({"type": "auto"}),
            Self::Bad | Self::All | Self::AtMost | Self::AtLeast => {
                json!({"type": "color-background", "mode": "basic"})
            }
            Self::Good | Self::Bar | Self::Heap => {
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

    /// The scale of a bar.
    fn ends(self) -> Option<(u32, u32)> {
        matches!(self, Self::Good | Self::Bar).then_some((0, 1))
    }
}

impl Board {
    pub(crate) fn uid(&self, language: Language) -> String {
        format!("funnelwatch-{}-{}", self.name, language.code())
    }

    /// As Grafana reads it.
    pub(crate) fn json(&self, language: Language) -> Value {
        let mut flow = SourceProgress { language, board: self, id: 0, y: 0 };
        let panels: Vec<Value> = self.rows.iter().flat_map(|row| flow.row(row)).collect();
        json!({
            "uid": self.uid(language),
            "title": language.of(self.title),
            "description": language.of(self.says),
            "tags": ["funnelwatch", language.code()],
            "schemaVersion": SCHEMA,
            "editable": true,
            "graphTooltip": 1,
            "refresh": self.refresh,
            "time": {"from": self.back, "to": "now"},
            "timepicker": {"refresh_intervals": ["10s", "30s", "1m", "5m"]},
            "timezone": "browser",
            "templating": {"list": self.variables.iter().map(|variable| variable.json(language)).collect::<Vec<_>>()},
            "annotations": {"list": []},
            "links": [{
                "type": "dashboards",
                "title": language.of(["Boards", "Панели"]),
                "tooltip": language.of(["The other boards", "Другие панели"]),
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
            "includeAll": self.many,
            "multi": self.many,
            "refresh": 1,
            "options": [],
        });
        if let Some(query) = &self.query {
            variable["type"] = "query".into();
            variable["datasource"] = datasource();
            variable["query"] =
                json!({"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"});
            // Managers come and go while one looks.
            variable["refresh"] = 2.into();
            variable["sort"] = 7.into();
        }
        if self.many {
            variable["allValue"] = ".*".into();
            variable["current"] = json!({"text": ["All"], "value": ["$__all"]});
        }
        if let Some(preset) = self.preset {
            variable["current"] = json!({"text": preset, "value": preset});
        }
        variable
    }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// The name of a panel's query.
fn reference(index: usize) -> String {
    char::from(b'A' + u8::try_from(index).expect("few queries")).to_string()
}

/// Lays panels out, and gives them their numbers.
struct SourceProgress<'a> {
    language: Language,
    board: &'a Board,
    id: u32,
    y: u32,
}

impl SourceProgress<'_> {
    fn next_id(&mut self) -> u32 {
        self.id += 1;
        self.id
    }

    fn row(&mut self, row: &Row) -> Vec<Value> {
        let heading = row.heading.map(|heading| {
            let place = json!({"x": 0, "y": self.y, "w": WIDTH, "h": 1});
            self.y += 1;
            json!({
                "id": self.next_id(),
                "type": "row",
                "title": self.language.of(heading),
                "collapsed": row.folded,
                "gridPos": place,
                "panels": [],
            })
        });
        let (mut x, mut height) = (0, 0);
        let mut panels = Vec::new();
        for panel in &row.panels {
            if x + panel.width > WIDTH {
                (x, self.y, height) = (0, self.y + height, 0);
            }
            let place = json!({"x": x, "y": self.y, "w": panel.width, "h": panel.height});
            (x, height) = (x + panel.width, height.max(panel.height));
            panels.push(self.panel(panel, place));
        }
        self.y += height;
        match heading {
            Some(mut heading) if row.folded => {
                heading["panels"] = panels.into();
                vec![heading]
            }
            heading => heading.into_iter().chain(panels).collect(),
        }
    }

    fn panel(&mut self, panel: &Panel, place: Value) -> Value {
        let mut value = match &panel.body {
            Body::Numbers(fields) => self.numbers(fields),
            Body::Judged(field, threshold) => self.judged(field, threshold),
            Body::Table { keys, fields, sorted } => self.table(keys, fields, *sorted),
            Body::Curves { unit, stacked, lines } => self.curves(*unit, *stacked, lines),
        };
        value["id"] = self.next_id().into();
        value["title"] = self.language.of(panel.title).into();
        value["description"] = self.language.of(panel.says).into();
        value["gridPos"] = place;
        value["datasource"] = datasource();
        value
    }

    /// A query of now, or one over time.
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

    fn numbers(&self, fields: &[Field]) -> Value {
        let targets = fields.iter().enumerate();
        let targets =
            targets.map(|(index, field)| self.target(index, &field.expr, true, "time_series", Some(field.name)));
        let overrides = fields.iter().enumerate().map(|(index, field)| {
            let mut properties = vec![property("color", field.paint.color())];
            properties.extend(field.paint.steps("green").map(|steps| property("thresholds", steps)));
            properties.extend(shown(field.unit));
            properties.extend(ends(field.paint));
            json!({"matcher": {"id": "byFrameRefID", "options": reference(index)}, "properties": properties})
        });
        let (targets, overrides): (Vec<_>, Vec<_>) = (targets.collect(), overrides.collect());
        // A name beside a number says which it is; one number has the panel's title.
        let named = fields.len() > 1 || fields.iter().any(|field| field.name[0].contains("{{"));
        let text = if named { "value_and_name" } else { "value" };
        json!({
            "type": "stat",
            "targets": targets,
            "fieldConfig": {"defaults": {"noValue": NOTHING}, "overrides": overrides},
            "options": big(text),
        })
    }

    fn judged(&self, field: &Field, threshold: &Expr) -> Value {
        let limit = ["limit", "limit"];
        let mut defaults = json!({"noValue": NOTHING, "color": {"mode": "thresholds"}});
        for property in shown(field.unit) {
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
            "options": big("value"),
        })
    }

    fn table(&self, keys: &[Key], fields: &[Field], sorted: usize) -> Value {
        let mut labels: Vec<&str> = keys.iter().map(|key| key.label).collect();
        labels.sort_unstable();
        let targets = fields.iter().enumerate().map(|(index, field)| {
            let mut of: Vec<&str> = field.expr.labels().to_vec();
            of.sort_unstable();
            assert_eq!(of, labels, "the labels of {} are not the keys of its table", field.expr.text());
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
        let mut overrides: Vec<Value> = keys.iter().filter(|key| key.shown).map(|key| self.key(key)).collect();
        overrides.extend(fields.iter().enumerate().map(|(index, field)| self.column(&value_of(index), field)));
        let mut transformations = Vec::new();
        if fields.len() > 1 {
            transformations.push(json!({"id": "merge", "options": {}}));
        }
        let hidden = keys.iter().filter(|key| !key.shown).map(|key| key.label);
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
                    "noValue": NOTHING,
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
        let mut properties = vec![
            property("displayName", self.language.of(key.name).into()),
            property("custom.width", key.width.into()),
        ];
        if !key.called.is_empty() {
            let called = key.called.iter().enumerate().map(|(index, (value, text))| {
                ((*value).to_owned(), json!({"text": self.language.of(*text), "index": index}))
            });
            let options: Map<String, Value> = called.collect();
            properties.push(property("mappings", json!([{"type": "value", "options": options}])));
        }
        if let Some(title) = key.sets {
            let kept = self.board.variables.iter().filter(|variable| variable.name != key.label);
            let kept: Vec<String> = kept.map(|variable| format!("${{{}:queryparam}}", variable.name)).collect();
            let uid = self.board.uid(self.language);
            let url = format!("/d/{uid}?{}&var-{}=${{__value.raw}}&${{__url_time_range}}", kept.join("&"), key.label);
            properties.push(property("links", json!([{"title": self.language.of(title), "url": url}])));
        }
        json!({"matcher": {"id": "byName", "options": key.label}, "properties": properties})
    }

    fn column(&self, name: &str, field: &Field) -> Value {
        let mut properties = vec![
            property("displayName", self.language.of(field.name).into()),
            property("custom.minWidth", narrowest(field).into()),
            property("custom.cellOptions", field.paint.cell()),
            property("color", field.paint.color()),
        ];
        properties.extend(shown(field.unit));
        properties.extend(ends(field.paint));
        properties.extend(field.paint.steps("transparent").map(|steps| property("thresholds", steps)));
        if let Paint::Verdict(_) = field.paint {
            properties.push(property("mappings", field.paint.mappings(self.language)));
        }
        json!({"matcher": {"id": "byName", "options": name}, "properties": properties})
    }

    fn curves(&self, unit: Unit, stacked: bool, lines: &[Line]) -> Value {
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
        for property in shown(unit).filter(|property| property["id"] == "unit") {
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

/// How many pixels a column needs at least: its value, and the longest word of its name in either language.
fn narrowest(field: &Field) -> usize {
    let value = match (field.unit, field.paint) {
        (Unit::Length, _) => 9,
        (_, Paint::Good | Paint::Bar | Paint::Heap) => 9,
        _ => 5,
    };
    let words = field.name.iter().flat_map(|name| name.split(' ')).map(|word| word.chars().count());
    16 + 7 * words.chain([value]).max().unwrap_or_default()
}

fn property(id: &str, value: Value) -> Value {
    json!({"id": id, "value": value})
}

/// The properties of a unit.
fn shown(unit: Unit) -> impl Iterator<Item = Value> {
    let (id, decimals) = unit.shown();
    [property("unit", id.into())].into_iter().chain(decimals.map(|decimals| property("decimals", decimals.into())))
}

/// The properties of a scale.
fn ends(paint: Paint) -> impl Iterator<Item = Value> {
    paint.ends().into_iter().flat_map(|(min, max)| [property("min", min.into()), property("max", max.into())])
}

/// The options of big numbers.
fn big(text: &str) -> Value {
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
