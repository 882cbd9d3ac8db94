with

calendar as (

    select * from {{ ref('stg_calendar') }}

),

parts as (

    select
        *,
        {{ week_start('calendar_date') }} as week_start_date,
        cast(date_trunc('month', calendar_date) as date) as month_start_date,
        cast(date_trunc('quarter', calendar_date) as date) as quarter_start_date,
        case when is_session then calendar_date end as session_date,
        max(calendar_date) over () as last_date
    from calendar

),

sessions as (

    select
        *,
        max(session_date) over (partition by week_start_date) as week_end_session_date,
        max(session_date) over (partition by month_start_date) as month_end_session_date,
        max(session_date) over (partition by quarter_start_date) as quarter_end_session_date,
        max(session_date) over (
            order by calendar_date rows between unbounded preceding and 1 preceding
        ) as previous_session_date,
        min(session_date) over (
            order by calendar_date rows between 1 following and unbounded following
        ) as next_session_date
    from parts

),

days as (

    select
        {{ date_key('calendar_date') }} as date_key,
        calendar_date,
        is_session,
        is_half_day,
        opens_at,
        closes_at,
        {{ iso_year('calendar_date') }} as iso_year,
        cast(extract(week from calendar_date) as integer) as iso_week,
        week_start_date,
        month_start_date,
        quarter_start_date,
        cast(extract(year from calendar_date) as integer) as year,
        cast(extract(quarter from calendar_date) as integer) as quarter,
        cast(extract(month from calendar_date) as integer) as month,
        {{ iso_day_of_week('calendar_date') }} as day_of_week,
        -- The calendar stops at a year's end, which may cut its last week: that week's end is not known yet.
        is_session
        and calendar_date = week_end_session_date
        and {{ add_days('week_start_date', 4) }} <= last_date as is_week_end_session,
        is_session and calendar_date = month_end_session_date as is_month_end_session,
        is_session and calendar_date = quarter_end_session_date as is_quarter_end_session,
        previous_session_date,
        next_session_date
    from sessions

),

unknown_day as (

    select
        0 as date_key,
        cast(null as date) as calendar_date,
        false as is_session,
        false as is_half_day,
        cast(null as timestamp with time zone) as opens_at,
        cast(null as timestamp with time zone) as closes_at,
        cast(null as integer) as iso_year,
        cast(null as integer) as iso_week,
        cast(null as date) as week_start_date,
        cast(null as date) as month_start_date,
        cast(null as date) as quarter_start_date,
        cast(null as integer) as year,
        cast(null as integer) as quarter,
        cast(null as integer) as month,
        cast(null as integer) as day_of_week,
        false as is_week_end_session,
        false as is_month_end_session,
        false as is_quarter_end_session,
        cast(null as date) as previous_session_date,
        cast(null as date) as next_session_date

),

with_unknown as (

    select * from days
    union all
    select * from unknown_day

)

select * from with_unknown
