//! P5, what many fleets cost in memory, and P6, how fast the operator knows them after a start.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use goproxy_operator::cache::Source;
use goproxy_operator::plan::object::FLEET_LABEL;
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::WatchParams;
use kube::client::Body;

use super::fleet;
use super::legs::{Side, interleaved, quantile};
use super::rig::{Bench, Operator, Rig};
use super::table::{Goal, Row};
use super::usage::Memory;
use super::{Report, number};
use crate::audit::by_shape;
use crate::page::Page;

/// Starts per leg; their median counts.
const STARTS: usize = 3;

/// What ends a streamed list.
const END_OF_LIST: &[u8] = b"k8s.io/initial-events-end";

/// Measures P5, P6 or both with this many fleets.
pub async fn measure(bench: &Bench, count: usize, memory: bool, start: bool) -> Result<Report> {
    bench
        .on_fresh_cluster(async |rig| {
            let mut report = Report::default();
            let (operator, idle) = populate(rig, count, memory.then_some(&mut report)).await?;
            operator.stop().await?;
            rig.rest().await?;
            if memory {
                after_restart(rig, count, idle, &mut report).await?;
            }
            if start {
                cold_starts(rig, count, &mut report).await?;
            }
            Ok(report)
        })
        .await
}

/// Lets the operator make the fleets, half of them first, and tells its memory at each size.
async fn populate(rig: &Rig<'_>, count: usize, report: Option<&mut Report>) -> Result<(Operator, Memory)> {
    let places = fleet::places("bench", count);
    rig.make_namespaces(&places).await?;
    let (operator, _) = rig.start_operator().await?;
    operator.wait_reconciled(0).await?;
    let idle = operator.memory()?;
    let (half, rest) = places.split_at(count / 2);
    let mut sizes = vec![(0, idle)];
    for (part, total) in [(half, half.len()), (rest, count)] {
        let step = rig.progress().step(format!("{total} fleets made by the operator"));
        rig.make_fleets(part).await?;
        operator.wait_healthy(total).await?;
        rig.rest().await?;
        sizes.push((total, operator.memory()?));
        step.done_with(format!("{:.1} MiB resident", operator.memory()?.resident));
    }
    if let Some(report) = report {
        tell_sizes(report, &sizes);
        report.notes.push(format!("P5: held objects: {}", held(&operator.page().await?)));
        report.notes.push(made_of("just made", &operator.held_bytes().await?, idle, operator.memory()?));
    }
    Ok((operator, idle))
}

/// What resident memory is made of: the program and what it has when it holds nothing, each kind of thing that it holds, and
/// what is left: connections and their buffers, what waits to be done, and what the allocator keeps.
fn made_of(when: &str, held: &Page, idle: Memory, memory: Memory) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mut parts: Vec<(&str, f64)> = held
        .samples("cache_bytes")
        .map(|(label, bytes)| (label.split('"').nth(1).unwrap_or(label), bytes / MIB))
        .collect();
    parts.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let sum: f64 = parts.iter().map(|(_, size)| size).sum();
    let listed: Vec<String> = parts.iter().map(|(name, size)| format!("{name} {size:.2}")).collect();
    format!(
        "P5: {when}: {:.1} MiB resident = {:.1} program (pages of its file) + {:.1} heap and stacks when idle (runtime, HTTP, TLS, \
         schema) + {sum:.2} held ({}) + {:.1} else (more connections, buffers, what the allocator keeps)",
        memory.resident,
        memory.resident - memory.anonymous,
        idle.anonymous,
        listed.join(", "),
        memory.anonymous - idle.anonymous - sum,
    )
}

fn tell_sizes(report: &mut Report, sizes: &[(usize, Memory)]) {
    let [(_, idle), (half, middle), (count, full)] = sizes else { return };
    let per_thousand = |from: f64, to: f64, fleets: usize| (to - from) * 1000.0 / number(fleets.max(1));
    let all = per_thousand(idle.resident, full.resident, *count);
    let upper = per_thousand(middle.resident, full.resident, count - half);
    let goal = Goal::AtMost { bar: 40.0, aim: 20.0 };
    let spread = format!("{upper:.1} from {half} to {count}");
    report
        .rows
        .push(Row::plain("P5", "MiB resident per 1,000 fleets, just made", all).goal(goal).of(count).spread(spread));
    for (fleets, Memory { resident, anonymous, peak }) in sizes {
        report.notes.push(format!(
            "P5: with {fleets} fleets {resident:.1} MiB resident, of it {anonymous:.1} heap and stacks; {peak:.1} at most until then"
        ));
    }
}

/// The same memory for an operator that found the fleets when it started: nothing is left of making them.
async fn after_restart(rig: &Rig<'_>, count: usize, idle: Memory, report: &mut Report) -> Result<()> {
    let (operator, _) = rig.start_operator().await?;
    operator.wait_reconciled(count).await?;
    rig.rest().await?;
    let memory = operator.memory()?;
    report.notes.push(made_of("after a restart", &operator.held_bytes().await?, idle, memory));
    let Memory { resident, anonymous, peak } = memory;
    operator.stop().await?;
    let goal = Goal::AtMost { bar: 40.0, aim: 20.0 };
    let each = anonymous * 1000.0 / number(count);
    report.rows.push(Row::plain("P5", "MiB heap per 1,000 fleets after a restart", each).goal(goal).of(count));
    let note = format!(
        "P5: after a restart {resident:.1} MiB resident, of it {anonymous:.1} heap and stacks; {peak:.1} at most"
    );
    report.notes.push(note);
    Ok(())
}

fn held(page: &Page) -> String {
    let mut objects: Vec<_> = page.samples("cached_objects").collect();
    objects.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    let name = |labels: &str| labels.split('"').nth(1).unwrap_or_default().to_owned();
    objects.into_iter().map(|(labels, number)| format!("{number} {}", name(labels))).collect::<Vec<_>>().join(", ")
}

async fn cold_starts(rig: &Rig<'_>, count: usize, report: &mut Report) -> Result<()> {
    let (client_factory, mark) = (rig.raw_config().await?, rig.audit().mark()?);
    let legs = interleaved(rig.progress(), "P6 s", async |side| {
        let mut seconds = Vec::new();
        for _ in 0..STARTS {
            seconds.push(match side {
                Side::Raw => raw_lists(Client::try_from(client_factory.clone())?, count).await?,
                Side::Ours => our_start(rig, count).await?,
            });
        }
        Ok(quantile(&seconds, 0.5))
    });
    let legs = legs.await?;
    let goal = Goal::RatioAtMost { bar: 2.0, aim: 1.3 };
    let row = Row::plain("P6", "s from start until all are reconciled", legs.ours).beside(legs.raw()).goal(goal);
    report.rows.push(row.of(format!("{count} fleets, median of {STARTS}")).spread(legs.spread()));

    let mut sent = rig.audit().since(mark)?;
    sent.retain(|request| request.user == Rig::operator_user() && !request.is_lease());
    let writes = sent.iter().filter(|request| request.is_write()).count();
    let row = Row::plain("P6", "writes in these starts", number(writes)).goal(Goal::AtMost { bar: 0.0, aim: 0.0 });
    report.rows.push(row.of(format!("{} starts", STARTS * legs.attempts)));
    report.notes.push(format!("P6: in these starts the operator sent {}", by_shape(&sent)));
    Ok(())
}

async fn our_start(rig: &Rig<'_>, count: usize) -> Result<f64> {
    let (operator, begin) = rig.start_operator().await?;
    operator.wait_reconciled(count).await?;
    let took = begin.elapsed();
    operator.stop().await?;
    // Its last lease update should not fall into the next measurement.
    rig.audit().quiet(Duration::from_millis(300), Duration::from_mins(1)).await?;
    Ok(took.as_secs_f64())
}

/// Streams everything that the operator watches, all at once as it does, and throws it away.
async fn raw_lists(client: Client, count: usize) -> Result<f64> {
    let begin = Instant::now();
    let sizes = try_join_all(Source::all().map(|source| raw_list(&client, source))).await?;
    let took = begin.elapsed().as_secs_f64();
    let bytes: usize = sizes.iter().sum();
    ensure!(bytes > count * 1000, "the lists of {count} fleets have only {bytes} bytes");
    Ok(took)
}

async fn raw_list(client: &Client, source: Source) -> Result<usize> {
    let resource = source.resource();
    let root = if resource.group.is_empty() { "/api" } else { "/apis" };
    let params = match source {
        Source::Fleets | Source::Secrets => WatchParams::default(),
        Source::Children(_) | Source::Pods => WatchParams::default().labels(FLEET_LABEL),
    };
    let params = WatchParams { send_initial_events: true, bookmarks: true, ..params };
    let path = format!("{root}/{}/{}", resource.api_version, resource.plural);
    let request = kube::core::Request::new(path).watch(&params, "0")?.map(Body::from);
    let mut body = client.send(request).await.with_context(|| format!("cannot list {}", resource.plural))?.into_body();
    let (mut tail, mut size) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        size += data.len();
        // The mark may lie across two frames.
        tail.extend_from_slice(&data);
        if contains(&tail, END_OF_LIST) {
            return Ok(size);
        }
        let keep = tail.len().saturating_sub(END_OF_LIST.len());
        tail.drain(..keep);
    }
    anyhow::bail!("the list of {} ended before its end", resource.plural)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let first = part.first().copied().unwrap_or_default();
    let candidates = text.iter().enumerate().filter(|(_, byte)| **byte == first);
    candidates.into_iter().any(|(place, _)| text[place..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_memory_add_up() {
        let page = Page::of(
            "goproxy_operator_cache_bytes{part=\"pods\"} 1048576\ngoproxy_operator_cache_bytes{part=\"children\"} 3145728\n",
        );
        let memory = |resident, anonymous| Memory { resident, anonymous, peak: 0.0 };
        let text = made_of("now", &page, memory(11.0, 2.0), memory(25.0, 16.0));
        assert!(text.contains("25.0 MiB resident = 9.0 program"), "{text}");
        assert!(text.contains("+ 2.0 heap and stacks when idle"), "{text}");
        assert!(text.contains("+ 4.00 held (children 3.00, pods 1.00) + 10.0 else"), "{text}");
    }

    #[test]
    fn the_end_of_a_list_is_found() {
        assert!(contains(br#"{"annotations":{"k8s.io/initial-events-end":"true"}}"#, END_OF_LIST));
        assert!(!contains(b"k8s.io/initial-events-en", END_OF_LIST));
        assert!(!contains(b"", END_OF_LIST));
    }
}
