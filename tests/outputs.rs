//! Tests of what users and operators see: API, metrics, schemas, boards and alert rules, against the code that produces it.

mod common;

mod outputs {
    mod api;
    mod boards;
    mod deliveries;
    mod docs;
    mod figure_members;
    mod gateway;
    mod http;
    mod lists;
    mod members;
    mod metrics;
    mod notify;
    mod page;
    mod page_writes;
    mod portal_connection;
    mod protos;
    #[path = "../common/receivers.rs"]
    mod receivers;
    mod row_schema;
    mod rules;
    mod schemas;
    mod users;
}
