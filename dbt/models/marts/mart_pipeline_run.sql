with

runs as (

    select * from {{ ref('stg_pipeline_runs') }}

),

timed_runs as (

    select
        {{ surrogate_key(['run_id']) }} as pipeline_run_key,
        run_id,
        target,
        status,
        started_by,
        backfill_id,
        parent_run_id,
        slice_from,
        slice_to,
        created_at,
        started_at,
        finished_at,
        round(date_diff('microsecond', created_at, started_at) / 1e6, 3) as wait_seconds,
        run_seconds
    from runs

)

select * from timed_runs
