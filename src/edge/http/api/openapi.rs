//! Owns the OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.1.html>), which is made of the table of endpoints and the
//! table of figures.

use super::asked::{ApiResult, Asked, check, line};
use super::endpoints::{Answer, ENDPOINTS, Endpoint, OPENAPI, Parameter, ParameterKind, courses, figures};
use super::schema::{Kind, object, optional, required};
use crate::domain::figures::table::{
    Figure, FigureValue, NOW, NowFigures, TargetFigures, WINDOW, WindowFigures, fields,
};
use serde_json::{Map, Value, json};

pub(super) async fn get(Asked(request, (), filters): Asked<()>) -> ApiResult {
    check(&filters, &OPENAPI)?;
    request.answer(|_| Ok(line(|body| body.extend_from_slice(document().to_string().as_bytes())))).await
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let method = if endpoint.body.is_some() { "post" } else { "get" };
        let path = paths.entry(format!("/api/v1{}", endpoint.path)).or_insert_with(|| json!({}));
        path[method] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "funnelwatch",
            "version": "v1",
            "description": "The live state of sales departments. Reference: docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "funnelwatch_session"},
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let mut parameters: Vec<Value> = path_parameters(endpoint.path);
    parameters.extend(endpoint.parameters.iter().map(parameter));
    let name = match endpoint.answer {
        Answer::Object(name, _) => Some(name),
        Answer::Rows => Some("Rows"),
        Answer::Alerts => Some("Alerts"),
        Answer::Events | Answer::OpenApi => None,
    };
    let reference = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let content = match (name, endpoint.answer) {
        (Some(name), _) if endpoint.body.is_some() => json!({"application/json": {"schema": reference(name)}}),
        (Some(name), _) => {
            json!({"application/json": {"schema": reference(name)}, "text/csv": {"schema": {"type": "string"}}})
        }
        (None, Answer::Events) => json!({"text/event-stream": {"schema": {"type": "string"}}}),
        (None, _) => {
            json!({"application/json": {"schema": {"type": "object"}}, "text/csv": {"schema": {"type": "string"}}})
        }
    };
    let error =
        |text: &str| json!({"description": text, "content": {"application/json": {"schema": reference("Error")}}});
    let mut responses = Map::new();
    let (status, text) = if endpoint.body.is_some() { ("202", "stored") } else { ("200", "the answer") };
    responses.insert(status.into(), json!({"description": text, "content": content}));
    let errors = [
        ("400", "an unknown parameter, an invalid value, or a malformed Host"),
        ("401", "no valid token"),
        ("403", "not allowed"),
        ("404", "nothing is known about the subject"),
        ("500", "the answer could not be computed"),
    ];
    responses.extend(errors.into_iter().map(|(status, text)| (status.to_owned(), error(text))));
    if endpoint.body.is_some() {
        responses.insert("413".into(), error("the body is too large"));
        responses.insert("503".into(), error("the event could not be stored"));
    }
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(fields) = endpoint.body {
        let is_needed = fields.iter().any(|field| field.need);
        let content = json!({"application/json": {"schema": object(fields, true)}});
        operation["requestBody"] = json!({"required": is_needed, "content": content});
    }
    operation
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let schema = match name {
            "figure" if path.ends_with("/history") => json!({"type": "string", "enum": courses()}),
            "figure" => json!({"type": "string", "enum": figures()}),
            "alert" => json!({"type": "string", "format": "uuid"}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        json!({"name": name, "in": "path", "required": true, "schema": schema})
    };
    names.map(parameter).collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({"type": "string"}),
        ParameterKind::Names(names) => json!({"type": "string", "enum": names()}),
        ParameterKind::Count(most) => json!({"type": "integer", "minimum": 1, "maximum": most}),
        ParameterKind::Duration => json!({"type": "string", "pattern": "^[0-9]{1,5}[smhd]$"}),
        ParameterKind::Cursor => json!({"type": "string", "pattern": "^-?[0-9]{1,15}\\.[0-9]{1,9}$"}),
    };
    json!({"name": parameter.name, "in": "query", "required": false, "description": parameter.help, "schema": schema})
}

fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    for endpoint in ENDPOINTS {
        if let Answer::Object(name, fields) = endpoint.answer {
            schemas.insert(name.into(), object(fields, false));
        }
    }
    schemas.insert("Error".into(), object(&[required("error", Kind::Text)], false));
    schemas.insert("Row".into(), row());
    let rows = json!({"type": "array", "items": {"$ref": "#/components/schemas/Row"}});
    let of_tenant = |key: &str, list: Value| json!({"type": "object", "required": ["tenant_id", key], "properties": {"tenant_id": {"type": "string"}, key: list}});
    schemas.insert("Rows".into(), of_tenant("rows", rows));
    let alerts = json!({"type": "array", "items": alert()});
    schemas.insert("Alerts".into(), of_tenant("alerts", alerts));
    schemas
}

fn alert() -> Value {
    let fields = [
        required("alert_id", Kind::Text),
        required("tenant_id", Kind::Text),
        required("rule", Kind::Text),
        required("severity", Kind::Names(&["info", "warning", "critical"])),
        required("status", Kind::Names(&["DUE_SOON", "FIRING", "ESCALATED"])),
        required("level", Kind::Count),
        required("subject", Kind::Text),
        required("at", Kind::Time),
        required("anchor_at", Kind::Time),
        optional("due_at", Kind::Time),
        optional("manager_id", Kind::Text),
        optional("department_id", Kind::Text),
        optional("window", Kind::Text),
        optional("taken_by", Kind::Text),
        optional("taken_at", Kind::Time),
        required("message", Kind::Text),
    ];
    object(&fields, false)
}

/// A row has the keys of a window or those of `now`.
fn row() -> Value {
    let mut properties = Map::new();
    for (name, kind) in [("tenant_id", "string"), ("subject", "string"), ("window", "string")] {
        properties.insert(name.into(), json!({"type": kind}));
    }
    properties.insert("at".into(), json!({"type": "string", "format": "date-time"}));
    properties.insert("historic".into(), json!({"type": "boolean"}));
    add_figures(&mut properties, WINDOW, &WindowFigures::default());
    let now = NowFigures { targets: [("id".into(), TargetFigures::default())].into(), ..NowFigures::default() };
    add_figures(&mut properties, NOW, &now);
    json!({"type": "object", "required": ["tenant_id", "subject", "window", "at"], "properties": properties})
}

fn add_figures<F>(properties: &mut Map<String, Value>, table: &[Figure<F>], figures: &F) {
    properties.extend(fields(table, figures).into_iter().map(|(key, _, value)| (key.to_owned(), value_schema(&value))));
}

fn value_schema(value: &FigureValue<'_>) -> Value {
    let object = |fields: &[(&'static str, u32, FigureValue<'_>)]| {
        let properties: Map<_, _> =
            fields.iter().map(|(key, _, value)| ((*key).to_owned(), value_schema(value))).collect();
        json!({"type": "object", "properties": properties})
    };
    match value {
        FigureValue::Count(_) => json!({"type": "integer"}),
        FigureValue::Number(_) => json!({"type": "number"}),
        FigureValue::Optional(_) => json!({"type": ["number", "null"]}),
        FigureValue::Flag(_) => json!({"type": "boolean"}),
        FigureValue::Share(share) => object(&share.fields()),
        FigureValue::Lags(lags) => object(&lags.fields()),
        FigureValue::Group(fields) => object(fields),
        FigureValue::Map(_) | FigureValue::Absent => json!({"type": "object"}),
    }
}
