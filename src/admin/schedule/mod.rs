//! What is done by itself and when: the backup of each night, the check of each week, the drill of each quarter, rotations on working days. Shows the next dates and what came of the last; the
//! configuration says when.

mod work;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::actor::Right;
use super::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::schedules::{FILE, Schedule, Schedules, Slots};
use crate::jobs::{self, Job};
use work::{Backup, Check, Drill, Rotate};

/// How many dates are shown.
const SHOWN: usize = 4;

/// One schedule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleView {
    /// `backup`, `drill`, `verify` or `rotate`.
    pub job: String,
    /// Minute, hour, day of month, month, day of week, in UTC.
    pub cron: String,
    /// The same in words.
    pub words: String,
    /// Whether nothing is done.
    pub paused: bool,
    /// The next dates.
    pub next: Vec<Timestamp>,
    /// When it was last due.
    pub last_due: Option<Timestamp>,
    /// What came of it: `running`, `done`, `failed`, `skipped` or `interrupted`.
    pub last_state: Option<String>,
    /// More of that.
    pub last_reason: Option<String>,
    /// Whether it should have been done and was not.
    pub overdue: bool,
}

/// Every schedule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleList {
    /// Backup first.
    pub schedules: Vec<ScheduleView>,
}

/// A changed schedule, as an order.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetSchedule {
    /// `backup`, `drill`, `verify` or `rotate`.
    pub job: String,
    /// Five fields, in UTC; as it was when not given.
    pub cron: Option<String>,
    /// Whether nothing is to be done; as it was when not given.
    pub paused: Option<bool>,
}

/// Every schedule with its next dates.
///
/// # Errors
/// When configuration or database cannot be read.
pub async fn list(admin: &Admin, actor: &Actor) -> Verb<ScheduleList> {
    actor.need(Right::Read, "drill.schedule")?;
    let schedules = current(admin).await;
    let mut views = Vec::new();
    for (job, schedule) in schedules.all() {
        views.push(view(admin, job, schedule).await?);
    }
    Ok(ScheduleList { schedules: views })
}

async fn view(admin: &Admin, job: &str, schedule: &Schedule) -> Verb<ScheduleView> {
    let (now, last) = (admin.clock.now(), jobs::newest(&admin.db, job).await?);
    let slots = Slots::parse(&schedule.cron).map_err(|why| Fault::invalid(format!("{FILE}: {job}.cron"), why))?;
    let dates = std::iter::successors(slots.after(now), |at| slots.after(*at)).take(SHOWN);
    let next: Vec<Timestamp> = if schedule.paused { Vec::new() } else { dates.collect() };
    let undone = last.as_ref().is_some_and(|last| matches!(last.state.as_str(), "failed" | "skipped" | "interrupted"));
    Ok(ScheduleView {
        job: job.to_owned(),
        cron: schedule.cron.clone(),
        words: slots.describe(),
        paused: schedule.paused,
        next,
        overdue: !schedule.paused && undone,
        last_due: last.as_ref().map(|last| last.due_at),
        last_state: last.as_ref().map(|last| last.state.clone()),
        last_reason: last.and_then(|last| last.reason),
    })
}

/// The schedules of the running configuration; the defaults while it cannot be read.
async fn current(admin: &Admin) -> Schedules {
    tree::desired(admin).await.map(|desired| desired.schedules).unwrap_or_default()
}

/// Changes a schedule in the configuration.
///
/// # Errors
/// `Denied` without role admin; `Stale`; `Invalid` for a schedule that never comes, or an unknown job.
pub async fn set(admin: &Admin, actor: &Actor, order: SetSchedule) -> Verb<ScheduleList> {
    actor.need(Right::Administer, "schedule.set")?;
    actor.need_fresh_login(admin.clock.now())?;
    if Schedules::default().of(&order.job).is_none() {
        return Err(Fault::invalid("job", "must be backup, drill, verify or rotate"));
    }
    if let Some(cron) = &order.cron {
        Slots::parse(cron).map_err(|why| Fault::invalid("cron", why))?;
    }
    let message = format!("Schedule the {}", order.job);
    let made = tree::edit(admin, actor, &message, |desired, _| {
        let mut schedules = desired.schedules.clone();
        if let Some(schedule) = schedules.of(&order.job) {
            schedule.cron = order.cron.clone().unwrap_or_else(|| schedule.cron.clone());
            schedule.paused = order.paused.unwrap_or(schedule.paused);
        }
        if schedules == desired.schedules { Ok(Vec::new()) } else { Ok(vec![tree::write(FILE, schedules.to_toml()?)]) }
    });
    let mut event = Event::action(&actor.name, "schedule.set", order.job.clone());
    event.revision = Some(made.await?.to_string());
    event.params = Some(serde_json::json!({ "cron": order.cron, "paused": order.paused }));
    admin.record(event).await?;
    list(admin, actor).await
}

/// The task that does what is due. Runs until `stop`.
pub async fn keep(admin: Arc<Admin>, stop: CancellationToken) {
    let watched = Arc::new(work::Watched::default());
    let all: Vec<Arc<dyn Job>> = vec![
        Arc::new(Backup(admin.clone(), watched.clone())),
        Arc::new(Drill(admin.clone(), watched.clone())),
        Arc::new(Check(admin.clone(), watched.clone())),
        Arc::new(Rotate(admin.clone(), watched.clone())),
    ];
    tokio::join!(jobs::drive(admin.db.clone(), admin.clock.clone(), all, stop.clone()), work::watch(&admin, &watched, &stop));
}
