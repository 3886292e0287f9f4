//! Jobs and their journals.

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, Transaction};
use tenon_contract::admin::JobState;

use super::SqliteCatalog;
use super::document::{self, column, integer, json, number};
use crate::{CatalogError, Job, JobOutcome, JobStep, Jobs, NewJob};

#[async_trait]
impl Jobs for SqliteCatalog {
    async fn create_job(&self, job: NewJob) -> Result<(), CatalogError> {
        let created = sqlx::query(
            "INSERT INTO jobs (id, kind, subject, state, input, created_at, updated_at)
             VALUES (?1, ?2, ?3, 'waiting', ?4, ?5, ?5) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&job.id)
        .bind(&job.kind)
        .bind(&job.subject)
        .bind(job.input.to_string())
        .bind(integer(job.created_at)?)
        .execute(&self.pool)
        .await
        .map_err(self.failed("create job"))?;
        match created.rows_affected() {
            0 => Err(CatalogError::Conflict {
                what: format!("job {}", job.id),
                reason: "there is a job of this id".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn advance_job(&self, id: &str, step: JobStep) -> Result<(), CatalogError> {
        const ACTION: &str = "advance job";
        let mut transaction = self.begin().await?;
        self.change_job(&mut transaction, id, JobState::Running, None, step.at).await?;
        sqlx::query(
            "INSERT INTO job_steps (job, position, name, state, detail, at)
             SELECT ?1, COUNT(*), ?2, ?3, ?4, ?5 FROM job_steps WHERE job = ?1",
        )
        .bind(id)
        .bind(&step.name)
        .bind(state_text(step.state))
        .bind(step.detail.to_string())
        .bind(integer(step.at)?)
        .execute(&mut *transaction)
        .await
        .map_err(self.failed(ACTION))?;
        transaction.commit().await.map_err(self.failed(ACTION))
    }

    async fn finish_job(&self, id: &str, outcome: JobOutcome, at: u64) -> Result<(), CatalogError> {
        let (state, outcome) = match outcome {
            JobOutcome::Done(result) => (JobState::Done, result),
            JobOutcome::Failed(reason) => (JobState::Failed, reason),
        };
        let mut transaction = self.begin().await?;
        self.change_job(&mut transaction, id, state, Some(outcome), at).await?;
        transaction.commit().await.map_err(self.failed("finish job"))
    }

    async fn job(&self, id: &str) -> Result<Option<Job>, CatalogError> {
        let select = sqlx::query("SELECT * FROM jobs WHERE id = ?").bind(id.to_owned());
        Ok(self.select_jobs(select).await?.pop())
    }

    async fn jobs(&self, limit: u32) -> Result<Vec<Job>, CatalogError> {
        self.select_jobs(sqlx::query("SELECT * FROM jobs ORDER BY position DESC LIMIT ?").bind(limit)).await
    }

    async fn unfinished_jobs(&self) -> Result<Vec<Job>, CatalogError> {
        let select =
            sqlx::query("SELECT * FROM jobs WHERE state IN ('waiting', 'running') ORDER BY position");
        self.select_jobs(select).await
    }
}

impl SqliteCatalog {
    /// Gives an unfinished job a new state.
    async fn change_job(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        id: &str,
        state: JobState,
        outcome: Option<Value>,
        at: u64,
    ) -> Result<(), CatalogError> {
        const ACTION: &str = "change job";
        let changed = sqlx::query(
            "UPDATE jobs SET state = ?, outcome = ?, updated_at = ?
             WHERE id = ? AND state IN ('waiting', 'running')",
        )
        .bind(state_text(state))
        .bind(outcome.map(|outcome| outcome.to_string()))
        .bind(integer(at)?)
        .bind(id)
        .execute(&mut **transaction)
        .await
        .map_err(self.failed(ACTION))?;
        if changed.rows_affected() > 0 {
            return Ok(());
        }
        let state: Option<String> = sqlx::query_scalar("SELECT state FROM jobs WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut **transaction)
            .await
            .map_err(self.failed(ACTION))?;
        let what = format!("job {id}");
        Err(match state {
            None => CatalogError::NotFound { what },
            Some(state) => CatalogError::Conflict { what, reason: format!("it is {state} already") },
        })
    }

    /// The selected jobs with their journals, both from one moment.
    async fn select_jobs(
        &self,
        select: Query<'static, Sqlite, SqliteArguments>,
    ) -> Result<Vec<Job>, CatalogError> {
        const ACTION: &str = "list jobs";
        let mut moment = self.pool.begin().await.map_err(self.failed(ACTION))?;
        let rows = select.fetch_all(&mut *moment).await.map_err(self.failed(ACTION))?;
        let mut jobs: Vec<Job> = rows.iter().map(read).collect::<Result<_, _>>()?;
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        let rows = sqlx::query(
            "SELECT * FROM job_steps WHERE job IN (SELECT value FROM json_each(?)) ORDER BY job, position",
        )
        .bind(document::write(&ids))
        .fetch_all(&mut *moment)
        .await
        .map_err(self.failed(ACTION))?;
        let mut steps: HashMap<String, Vec<JobStep>> = HashMap::new();
        for row in &rows {
            steps.entry(column(row, "job", "job step")?).or_default().push(read_step(row)?);
        }
        for job in &mut jobs {
            job.steps = steps.remove(&job.id).unwrap_or_default();
        }
        Ok(jobs)
    }
}

/// Reads a job without its steps.
fn read(row: &SqliteRow) -> Result<Job, CatalogError> {
    let outcome: Option<&str> = column(row, "outcome", "job")?;
    Ok(Job {
        id: column(row, "id", "job")?,
        kind: column(row, "kind", "job")?,
        subject: column(row, "subject", "job")?,
        input: json(column(row, "input", "job")?, "job")?,
        state: read_state(row, "job")?,
        outcome: outcome.map(|outcome| json(outcome, "job")).transpose()?,
        steps: Vec::new(),
        created_at: number(row, "created_at", "job")?,
        updated_at: number(row, "updated_at", "job")?,
    })
}

fn read_step(row: &SqliteRow) -> Result<JobStep, CatalogError> {
    Ok(JobStep {
        name: column(row, "name", "job step")?,
        state: read_state(row, "job step")?,
        detail: json(column(row, "detail", "job step")?, "job step")?,
        at: number(row, "at", "job step")?,
    })
}

fn state_text(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Running => "running",
        JobState::Done => "done",
        JobState::Failed => "failed",
    }
}

fn read_state(row: &SqliteRow, what: &str) -> Result<JobState, CatalogError> {
    match column(row, "state", what)? {
        "waiting" => Ok(JobState::Waiting),
        "running" => Ok(JobState::Running),
        "done" => Ok(JobState::Done),
        "failed" => Ok(JobState::Failed),
        other => {
            Err(CatalogError::Document { what: what.to_owned(), reason: format!("unknown state `{other}`") })
        }
    }
}
