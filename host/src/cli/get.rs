//! `get`: objects as tables that the server makes, or whole in the format that `-o` names; with `-w` also what becomes of them.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures::StreamExt;
use http_body_util::BodyExt;
use pintle_api::ResourceDef;
use pintle_api::object::ObjectExt;
use serde_json::Value;

use super::files::FileArgs;
use super::jsonpath::{Template, show};
use super::print::{self, Format, TableStyle};
use super::resolve::{Pick, Selectors, picks, singular_title};
use super::session::{Global, Session, collection_path, object_path, with_query};
use super::tabs;

/// Bytes of one event of a watch.
const MAX_EVENT_BYTES: usize = 64 << 20;

#[derive(clap::Args, Debug)]
pub struct GetArgs {
    /// TYPE[,TYPE...] [NAME...] or TYPE/NAME...
    pub resources: Vec<String>,
    #[command(flatten)]
    pub files: FileArgs,
    #[command(flatten)]
    pub selectors: Selectors,
    /// wide, json, yaml, name, jsonpath=..., custom-columns=...
    #[arg(short, long)]
    pub output: Option<String>,
    /// After the objects, their changes
    #[arg(short, long)]
    pub watch: bool,
    /// Changes only
    #[arg(long)]
    pub watch_only: bool,
    #[arg(long)]
    pub no_headers: bool,
    #[arg(long)]
    pub show_labels: bool,
    /// Print the kind with the name
    #[arg(long)]
    pub show_kind: bool,
    #[arg(long)]
    pub show_managed_fields: bool,
    /// Labels as columns of their own
    #[arg(short = 'L', long, value_delimiter = ',')]
    pub label_columns: Vec<String>,
    /// JSONPath of the field to sort by
    #[arg(long)]
    pub sort_by: Option<String>,
    /// An object that does not exist is no error
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "false")]
    pub ignore_not_found: String,
    /// A path of the server as it is
    #[arg(long)]
    pub raw: Option<String>,
    /// Objects that the server sends at once
    #[arg(long, default_value_t = 500)]
    pub chunk_size: u32,
    /// A subresource: status or scale
    #[arg(long, default_value = "")]
    pub subresource: String,
    #[command(flatten)]
    pub global: Global,
}

/// Rows of one resource.
struct Section {
    def: ResourceDef,
    table: Value,
    rows: Vec<Value>,
}

pub async fn run(args: GetArgs) -> Result<ExitCode> {
    let session = Session::open(&args.global)?;
    if let Some(path) = &args.raw {
        print::text(&session.get_text(path).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut format = Format::parse(args.output.as_deref())?;
    if let Format::Columns { with_heads, .. } = &mut format {
        *with_heads = !args.no_headers;
    }
    let picks = if args.files.is_empty() { picks(session.discovery().await?, &args.resources)? } else { from_files(&args, &session).await? };
    if picks.iter().any(|p| p.name.is_some()) && args.selectors.is_set() {
        bail!("name cannot be provided when a selector is specified");
    }
    if args.selectors.all_namespaces && picks.iter().any(|p| p.name.is_some() && p.def.is_namespaced()) {
        bail!("a resource cannot be retrieved by name across all namespaces");
    }
    if args.watch || args.watch_only {
        let [pick] = picks.as_slice() else { bail!("you may only specify a single resource type") };
        watch(&args, &session, pick, &format).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if format.is_table() { tables(&args, &session, &picks, &format).await } else { whole(&args, &session, &picks, &format).await }
}

async fn from_files(args: &GetArgs, session: &Session) -> Result<Vec<Pick>> {
    let found = args.files.found(session).await?;
    Ok(found.into_iter().map(|f| Pick { name: Some(f.name().to_owned()), def: f.def }).collect())
}

fn path_of(args: &GetArgs, session: &Session, pick: &Pick) -> String {
    let namespace = session.namespace_for(&pick.def);
    match &pick.name {
        Some(name) => object_path(&pick.def, namespace, name, &args.subresource),
        None => {
            let path = collection_path(&pick.def, namespace.filter(|_| !args.selectors.all_namespaces));
            with_query(&path, &args.selectors.query())
        }
    }
}

async fn whole(args: &GetArgs, session: &Session, picks: &[Pick], format: &Format) -> Result<ExitCode> {
    let mut found: Vec<(ResourceDef, Value)> = Vec::new();
    let mut failed = false;
    for pick in picks {
        let path = path_of(args, session, pick);
        let answer = match &pick.name {
            Some(_) => session.get(&path).await.map(|object| vec![object]),
            None => session.list(&path).await,
        };
        match answer {
            Ok(objects) => found.extend(objects.into_iter().map(|o| (pick.def.clone(), o))),
            Err(error) => failed |= complain(args, error)?,
        }
    }
    if !args.show_managed_fields {
        found.iter_mut().for_each(|(_, o)| print::without_managed_fields(o));
    }
    if let Some(path) = &args.sort_by {
        let template = Template::relaxed(path)?;
        found.sort_by(|(_, a), (_, b)| order(&template, a, b));
    }
    let single = matches!(picks, [Pick { name: Some(_), .. }]);
    if !found.is_empty() || !(single || failed) {
        format.print(&found, single)?;
    }
    Ok(code(failed))
}

/// Refusals of single objects are reported and the rest is shown. True when it counts as a failure.
fn complain(args: &GetArgs, error: anyhow::Error) -> Result<bool> {
    match super::session::refusal(&error) {
        Some(status) if status.code == 404 && args.ignore_not_found == "true" => Ok(false),
        Some(status) if status.code != 0 => {
            eprintln!("{error}");
            Ok(true)
        }
        _ => Err(error),
    }
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn tables(args: &GetArgs, session: &Session, picks: &[Pick], format: &Format) -> Result<ExitCode> {
    let mut sections: Vec<Section> = Vec::new();
    let mut refused = Vec::new();
    for pick in picks {
        match table(args, session, pick).await {
            Ok(mut table) => {
                let rows = table["rows"].as_array_mut().map(std::mem::take).unwrap_or_default();
                match sections.iter_mut().find(|s| s.def == pick.def) {
                    Some(section) => section.rows.extend(rows),
                    None => sections.push(Section { def: pick.def.clone(), table, rows }),
                }
            }
            Err(error) => refused.push(error),
        }
    }
    let with_kind = args.show_kind || sections.len() > 1;
    sections.retain(|s| !s.rows.is_empty());
    for (index, section) in sections.iter_mut().enumerate() {
        if let Some(path) = &args.sort_by {
            let template = Template::relaxed(path)?;
            section.rows.sort_by(|a, b| order(&template, &a["object"], &b["object"]));
        }
        let style = style(args, &section.def, format, with_kind);
        if index > 0 {
            print::line("");
        }
        print::text(&tabs::align(&section.text(&style), tabs::TABLE));
    }
    let mut failed = false;
    for error in refused {
        failed |= complain(args, error)?;
    }
    if sections.is_empty() && !failed && args.ignore_not_found != "true" {
        match (args.selectors.all_namespaces || picks.iter().all(|p| !p.def.is_namespaced()), session.namespace.as_str()) {
            (true, _) => eprintln!("No resources found"),
            (false, namespace) => eprintln!("No resources found in {namespace} namespace."),
        }
    }
    Ok(code(failed))
}

impl Section {
    fn text(&self, style: &TableStyle) -> String {
        let mut text = if style.no_headers { String::new() } else { style.heading(&self.table) };
        text.extend(self.rows.iter().map(|row| style.row(&self.table, row)));
        text
    }
}

fn style(args: &GetArgs, def: &ResourceDef, format: &Format, with_kind: bool) -> TableStyle {
    TableStyle {
        wide: matches!(format, Format::Wide),
        no_headers: args.no_headers,
        show_namespace: args.selectors.all_namespaces && def.is_namespaced(),
        show_labels: args.show_labels,
        label_columns: args.label_columns.clone(),
        prefix: if with_kind { format!("{}/", singular_title(def)) } else { String::new() },
    }
}

/// The whole table, page after page.
async fn table(args: &GetArgs, session: &Session, pick: &Pick) -> Result<Value> {
    let include = if args.sort_by.is_some() { "Object" } else { "" };
    let path = with_query(&path_of(args, session, pick), &[("includeObject", include)]);
    if pick.name.is_some() {
        return session.get_table(&path).await;
    }
    let limit = if args.chunk_size == 0 { String::new() } else { args.chunk_size.to_string() };
    let mut whole = session.get_table(&with_query(&path, &[("limit", &limit)])).await?;
    loop {
        let token = whole["metadata"].str_at(&["continue"]).to_owned();
        if token.is_empty() {
            return Ok(whole);
        }
        let mut page = session.get_table(&with_query(&path, &[("limit", &limit), ("continue", &token)])).await?;
        if let (Some(rows), Some(more)) = (whole["rows"].as_array_mut(), page["rows"].as_array_mut()) {
            rows.append(more);
        }
        whole["metadata"] = page["metadata"].take();
    }
}

fn order(template: &Template, a: &Value, b: &Value) -> std::cmp::Ordering {
    let key = |v: &Value| template.find(v).first().map(|v| (*v).clone()).unwrap_or(Value::Null);
    let (a, b) = (key(a), key(b));
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        _ => match (quantity(&a), quantity(&b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => show(&a).cmp(&show(&b)),
        },
    }
}

fn quantity(value: &Value) -> Option<i64> {
    pintle_api::quantity::Quantity::parse(value.as_str()?).ok().map(|q| q.milli_value())
}

async fn watch(args: &GetArgs, session: &Session, pick: &Pick, format: &Format) -> Result<()> {
    let by_name = pick.name.as_ref().map(|n| format!("metadata.name={n}"));
    let collection = Pick { name: None, ..pick.clone() };
    let path = with_query(&path_of(args, session, &collection), &[("fieldSelector", by_name.as_deref().unwrap_or(""))]);
    let style = style(args, &pick.def, format, args.show_kind);
    let mut printer = WatchPrinter { style, heading: !args.no_headers, widths: Vec::new(), table: Value::Null };
    let first = session.get_table(&path).await?;
    let revision = first["metadata"].str_at(&["resourceVersion"]).to_owned();
    if !args.watch_only && format.is_table() {
        if first.list_at(&["rows"]).is_empty() && pick.name.is_some() {
            session.get(&path_of(args, session, pick)).await?;
        }
        printer.show(&first);
    } else if !args.watch_only {
        let objects = session.list(&path).await?.into_iter().map(|o| (pick.def.clone(), o));
        for found in objects {
            format.print(&[found], true)?;
        }
    }
    let path = with_query(&path, &[("watch", "true"), ("resourceVersion", &revision)]);
    let mut lines = lines(session.stream(&path, format.is_table()).await?);
    while let Some(line) = lines.next().await {
        let mut event: Value = serde_json::from_slice(&line?)?;
        match event.str_at(&["type"]) {
            "BOOKMARK" => {}
            "ERROR" => bail!("{}", event["object"].str_at(&["message"])),
            _ if format.is_table() => printer.show(&event["object"]),
            _ => {
                print::without_managed_fields(&mut event["object"]);
                format.print(&[(pick.def.clone(), event["object"].take())], true)?;
            }
        }
    }
    Ok(())
}

/// Columns keep the widths that they once had, so that later rows stand under earlier ones.
struct WatchPrinter {
    style: TableStyle,
    heading: bool,
    widths: Vec<usize>,
    table: Value,
}

impl WatchPrinter {
    fn show(&mut self, table: &Value) {
        if !table.list_at(&["columnDefinitions"]).is_empty() {
            self.table["columnDefinitions"] = table["columnDefinitions"].clone();
        }
        let rows = table.list_at(&["rows"]);
        if rows.is_empty() {
            return;
        }
        let mut text = if std::mem::take(&mut self.heading) { self.style.heading(&self.table) } else { String::new() };
        text.extend(rows.iter().map(|row| self.style.row(&self.table, row)));
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split('\t').collect()).collect();
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), tabs::TABLE.min_width);
            for (width, cell) in self.widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count() + tabs::TABLE.padding);
            }
        }
        for line in &lines {
            let last = line.len() - 1;
            let cells =
                line.iter().enumerate().map(|(at, cell)| if at == last { (*cell).to_owned() } else { format!("{cell:<0$}", self.widths[at]) });
            print::line(&cells.collect::<String>());
        }
    }
}

/// The lines of a body without an end.
pub fn lines(body: hyper::body::Incoming) -> impl futures::Stream<Item = Result<Vec<u8>>> + Unpin {
    let state = (body, Vec::<u8>::new());
    Box::pin(futures::stream::try_unfold(state, |(mut body, mut held)| async move {
        loop {
            if let Some(end) = held.iter().position(|b| *b == b'\n') {
                let rest = held.split_off(end + 1);
                held.truncate(end);
                return Ok(Some((held, (body, rest))));
            }
            if held.len() > MAX_EVENT_BYTES {
                bail!("an event is longer than {MAX_EVENT_BYTES} bytes");
            }
            match body.frame().await {
                Some(frame) => held.extend(frame?.into_data().unwrap_or_default()),
                None if held.iter().any(|b| !b.is_ascii_whitespace()) => return Ok(Some((held, (body, Vec::new())))),
                None => return Ok(None),
            }
        }
    }))
}
