-- The fixture's daily star, its weeks and months, and what is judged from them: from `days` (one row per instrument and
-- session, as traded) and the tables of warehouse_fixture.sql. Written apart from the dbt models on purpose; over 300
-- lines because each table rests on those before it.
-- Polygon halves what ORCA was before its split, is a dime off in three closes of KIWI, and lacks two sessions of MOTH.
create table fact_corporate_action as
select
    md5(instrument_id || action_type || effective_date) as corporate_action_key, md5(instrument_id) as instrument_key,
    instrument_id, symbol, action_type, effective_date, effective_date as first_session_date, kind, split_ratio, cash_amount, currency, declaration_date,
    record_date, pay_date, frequency_per_year, provider, provider_count,
    provider_count as agreeing_provider_count,
    (declaration_date::timestamp + interval 22 hour) at time zone 'UTC' as known_from
from (
    select instrument_id, symbol, 'split' as action_type, session_date as effective_date, 'split' as kind, split_ratio,
        null::decimal(28, 10) as cash_amount, null as currency, session_date - 21 as declaration_date,
        null::date as record_date, null::date as pay_date, null::bigint as frequency_per_year, 'fmp' as provider,
        2 as provider_count
    from days where split_ratio <> 1
    union all
    select instrument_id, symbol, 'dividend', session_date, 'CD', null, dividend_usd::decimal(28, 10), 'USD',
        session_date - 28, session_date, session_date + 14, 4, 'polygon', 1
    from days where dividend_usd > 0
);

create table fact_daily_price_version as
with sources as (
    select *, 'fmp' as provider, 'eod_raw' as dataset, 1 as provider_rank, 1.0 as scale, 0.0 as off, 1.0 as more
    from days where instrument_id in (select instrument_id from members where is_followed)
    union all
    select d.*, 'polygon', 'grouped_daily', 2,
        if(d.symbol = 'ORCA' and d.session_date < a.effective_date, a.split_ratio, 1.0),
        if(d.symbol = 'KIWI' and d.session_date between date '2026-10-05' and date '2026-10-07', 0.1, 0.0), 1.004
    from days as d
    left join fact_corporate_action as a on a.instrument_id = d.instrument_id and a.action_type = 'split'
    where d.session_date >= date '2025-05-01'
        and not (d.symbol = 'MOTH' and d.session_date in (date '2026-11-11', date '2026-11-12'))
),
versions as (
    select *, symbol = 'ORCA' and session_date = date '2026-03-06' and provider = 'fmp' as is_restated from sources
)
select
    md5(instrument_id || session_date || provider || v.version_number) as daily_price_version_key,
    md5(instrument_id) as instrument_key, md5(dataset) as source_key, instrument_id, symbol, provider, dataset,
    provider_rank, session_date, v.version_number,
    open_usd / scale as open_usd, high_usd / scale as high_usd, low_usd / scale as low_usd,
    (close_usd / scale + off) * if(is_restated and v.version_number = 1, 0.985, 1) as close_usd,
    volume_shares * scale * more as volume_shares, (high_usd + low_usd) / 2 / scale as vwap_usd,
    (volume_shares / 150)::bigint as transaction_count, null::double as adjusted_close_usd, null::double as dividend_usd,
    null::double as split_ratio,
    case when v.version_number = 1 then session_date::timestamp + interval 22 hour
        else timestamp '2026-11-09 22:10:00' end at time zone 'UTC' as known_from,
    case when is_restated and v.version_number = 1 then timestamp '2026-11-09 22:10:00' at time zone 'UTC' end as known_to,
    not is_restated or v.version_number = 2 as is_current,
    if(provider = 'fmp', 'universe', 'roster') as identity_source, symbol as source_symbol,
    if(provider = 'fmp', instrument_id, null) as source_instrument_id
from versions
cross join lateral (select unnest(if(is_restated, [1, 2], [1])) as version_number) as v;

create table fact_daily_price as
with bars as (
    select v.* exclude (dividend_usd, split_ratio), d.dividend_usd, d.split_ratio,
        count(*) over w as provider_count,
        count(*) filter (abs(v.close_usd / d.close_usd - 1) <= 0.001) over w as agreeing_provider_count
    from fact_daily_price_version as v
    join days as d on d.instrument_id = v.instrument_id and d.session_date = v.session_date
    where v.is_current
    window w as (partition by v.instrument_id, v.session_date)
    qualify row_number() over (partition by v.instrument_id, v.session_date order by v.provider_rank) = 1
),
steps as (
    select *, lag(close_usd) over w as before,
        product(split_ratio) over w as split_factor
    from bars window w as (partition by instrument_id order by session_date)
),
factors as (
    select *, product(split_ratio / (1 - coalesce(dividend_usd / before, 0))) over w as total_factor
    from steps window w as (partition by instrument_id order by session_date)
),
returns as (
    select *, close_usd / before - 1 as raw_return_ratio, close_usd * split_ratio / before - 1 as split_return_ratio,
        close_usd * total_factor / lag(close_usd * total_factor) over w - 1 as total_return_ratio,
        ln(total_return_ratio + 1) as log_return, open_usd * split_ratio / before - 1 as gap_ratio,
        (greatest(high_usd, before / split_ratio) - least(low_usd, before / split_ratio)) / (before / split_ratio)
            as true_range_ratio,
        close_usd * split_factor as level, volume_shares / split_factor as shares
    from factors window w as (partition by instrument_id order by session_date)
)
select
    md5(instrument_id || session_date) as daily_price_key, instrument_key,
    strftime(session_date, '%Y%m%d')::integer as date_key, md5(dataset) as source_key, instrument_id, symbol,
    session_date, row_number() over (partition by instrument_id order by session_date) as bar_number, provider, provider_count, agreeing_provider_count,
    open_usd, high_usd, low_usd, close_usd, volume_shares, vwap_usd, transaction_count, split_ratio, dividend_usd,
    split_factor, total_factor, raw_return_ratio, split_return_ratio, total_return_ratio, log_return, gap_ratio,
    close_usd * volume_shares as dollar_volume_usd, true_range_ratio,
    if(count(*) over d20 = 20, avg(level) over d20, null) as average_20d_anchored_usd,
    if(count(*) over d50 = 50, avg(level) over d50, null) as average_50d_anchored_usd,
    if(count(*) over d120 = 120, avg(level) over d120, null) as average_120d_anchored_usd,
    if(count(*) over d200 = 200, avg(level) over d200, null) as average_200d_anchored_usd,
    if(count(log_return) over d20 >= 10, stddev_samp(log_return) over d20 * sqrt(252), null) as volatility_20d_ratio,
    if(count(log_return) over d60 >= 30, stddev_samp(log_return) over d60 * sqrt(252), null) as volatility_60d_ratio,
    if(count(log_return) over d252 >= 126, stddev_samp(log_return) over d252 * sqrt(252), null) as volatility_252d_ratio,
    if(count(log_return) over d20 >= 10,
        (log_return - avg(log_return) over d20) / stddev_samp(log_return) over d20, null) as return_zscore_20d,
    if(count(log_return) over d252 >= 126,
        (log_return - avg(log_return) over d252) / stddev_samp(log_return) over d252, null) as return_zscore_252d,
    if(count(*) over d20 >= 10, (shares - avg(shares) over d20) / stddev_samp(shares) over d20, null)
        as volume_zscore_20d,
    if(count(*) over d252 >= 126, (level - avg(level) over d252) / stddev_samp(level) over d252, null)
        as price_zscore_252d,
    if(count(*) over d252 = 252, max(high_usd * split_factor) over d252, null) as high_252d_anchored_usd,
    if(count(*) over d252 = 252, min(low_usd * split_factor) over d252, null) as low_252d_anchored_usd
from returns
window
    d20 as (partition by instrument_id order by session_date rows 19 preceding),
    d50 as (partition by instrument_id order by session_date rows 49 preceding),
    d60 as (partition by instrument_id order by session_date rows 59 preceding),
    d120 as (partition by instrument_id order by session_date rows 119 preceding),
    d200 as (partition by instrument_id order by session_date rows 199 preceding),
    d252 as (partition by instrument_id order by session_date rows 251 preceding);

-- Each statement names its windows apart: DuckDB's parser carries them into the next statement of a batch.
create table dim_price_anchor as
select instrument_id, max(session_date) as session_date, arg_max(split_factor, session_date) as split_factor,
    arg_max(total_factor, session_date) as total_factor
from fact_daily_price group by instrument_id;

create temp table periods as
with cadences as (select unnest(['week', 'month']) as cadence),
days_in as (
    select f.*, cadence, date_trunc(cadence, session_date)::date as start_date,
        last_value(split_factor) over (
            partition by instrument_id, cadence, date_trunc(cadence, session_date) order by session_date
            rows between unbounded preceding and unbounded following
        ) as last_factor
    from fact_daily_price as f cross join cadences
),
summed as (
    select
        cadence, start_date, instrument_id, arg_max(instrument_key, session_date) as instrument_key,
        arg_max(symbol, session_date) as symbol, min(session_date) as first_session_date, max(session_date) as session_date,
        count(*) as session_count, arg_min(open_usd * split_factor / last_factor, session_date) as open_usd,
        max(high_usd * split_factor / last_factor) as high_usd, min(low_usd * split_factor / last_factor) as low_usd,
        arg_max(close_usd, session_date) as close_usd, sum(volume_shares / split_factor * last_factor) as volume_shares,
        sum(dollar_volume_usd) as dollar_volume_usd, sum(dividend_usd * split_factor / last_factor) as dividend_usd,
        product(split_ratio) as split_ratio, stddev_samp(log_return) * sqrt(252) as realised_volatility_ratio,
        arg_max(split_factor, session_date) as split_factor, arg_max(total_factor, session_date) as total_factor
    from days_in group by all
)
select
    s.*, (select count(*) from dim_date where is_session and date_trunc(cadence, calendar_date) = start_date)
        as expected_session_count,
    close_usd * split_factor / lag(close_usd * split_factor) over in_time - 1 as split_return_ratio,
    close_usd * total_factor / lag(close_usd * total_factor) over in_time - 1 as total_return_ratio
from summed as s
window in_time as (partition by cadence, instrument_id order by start_date);

create table agg_stock_weekly_metrics as
select
    md5(instrument_id || start_date) as week_key, instrument_key, strftime(session_date, '%Y%m%d')::integer as date_key,
    instrument_id, symbol, start_date as week_start_date, first_session_date, session_date, session_count,
    expected_session_count, session_count < expected_session_count as is_partial_week, false as has_gap,
    open_usd, high_usd, low_usd, close_usd, volume_shares, volume_shares / session_count as average_volume_shares,
    dollar_volume_usd, dividend_usd, split_ratio, split_return_ratio, total_return_ratio, realised_volatility_ratio,
    if(count(total_return_ratio) over year >= 26, stddev_samp(total_return_ratio) over year * sqrt(52), null)
        as volatility_52w_ratio,
    if(count(total_return_ratio) over year >= 26,
        (total_return_ratio - avg(total_return_ratio) over year) / stddev_samp(total_return_ratio) over year, null)
        as return_zscore_52w,
    if(count(*) over year >= 26,
        (volume_shares / split_factor - avg(volume_shares / split_factor) over year)
        / stddev_samp(volume_shares / split_factor) over year, null) as volume_zscore_52w,
    split_factor, total_factor
from periods where cadence = 'week'
window year as (partition by instrument_id order by start_date rows 51 preceding);

create table agg_stock_monthly_metrics as
select
    md5(instrument_id || start_date) as month_key, instrument_key, strftime(session_date, '%Y%m%d')::integer as date_key,
    instrument_id, symbol, start_date as month_start_date, first_session_date, session_date, session_count,
    expected_session_count, session_count < expected_session_count as is_partial_month, false as has_gap,
    open_usd, high_usd, low_usd, close_usd, volume_shares, volume_shares / session_count as average_volume_shares,
    dollar_volume_usd, dividend_usd, split_ratio, split_return_ratio, total_return_ratio, realised_volatility_ratio,
    if(count(total_return_ratio) over years >= 18, stddev_samp(total_return_ratio) over years * sqrt(12), null)
        as volatility_36m_ratio,
    if(count(total_return_ratio) over years >= 18,
        (total_return_ratio - avg(total_return_ratio) over years) / stddev_samp(total_return_ratio) over years, null)
        as return_zscore_36m,
    if(count(*) over years >= 18,
        (volume_shares / split_factor - avg(volume_shares / split_factor) over years)
        / stddev_samp(volume_shares / split_factor) over years, null) as volume_zscore_36m,
    split_factor, total_factor
from periods where cadence = 'month'
window years as (partition by instrument_id order by start_date rows 35 preceding);

create table mart_reconciliation as
with pairs as (
    select v.instrument_id, v.symbol, v.session_date, v.provider, f.provider as winner_provider, m.measure,
        m.tolerance_ratio, if(f.split_factor < last.split_factor, last.split_factor / f.split_factor, null) as later_split,
        case m.measure when 'open_usd' then v.open_usd when 'high_usd' then v.high_usd when 'low_usd' then v.low_usd
            when 'close_usd' then v.close_usd else v.volume_shares end as value,
        case m.measure when 'open_usd' then f.open_usd when 'high_usd' then f.high_usd when 'low_usd' then f.low_usd
            when 'close_usd' then f.close_usd else f.volume_shares end as winner_value
    from fact_daily_price_version as v
    join fact_daily_price as f on f.instrument_id = v.instrument_id and f.session_date = v.session_date
    join dim_price_anchor as last on last.instrument_id = v.instrument_id
    cross join (values ('open_usd', 0.001::double), ('high_usd', 0.001), ('low_usd', 0.001), ('close_usd', 0.001),
        ('volume_shares', 0.02)) as m (measure, tolerance_ratio)
    where v.is_current and f.provider_count > 1
),
judged as (
    select *, value / winner_value - 1 as difference_ratio,
        case when abs(difference_ratio) <= tolerance_ratio then 'agrees'
            when later_split is not null then 'missed_split' else 'differs' end as verdict
    from pairs
)
select
    md5(instrument_id || session_date || measure || provider) as reconciliation_key, instrument_id, symbol, session_date,
    measure, provider, value, winner_provider, winner_value, provider = winner_provider as is_winner, difference_ratio,
    value = winner_value as is_equal, tolerance_ratio, verdict, if(verdict = 'missed_split', later_split, null) as likely_split_ratio,
    avg((verdict = 'agrees')::integer) over (partition by instrument_id, provider) as provider_score
from judged;

create table mart_provider_score as
select
    md5(provider || instrument_id) as provider_score_key, provider, instrument_id, arg_max(symbol, session_date) as symbol,
    min(session_date) as first_session_date, max(session_date) as session_date,
    count(*) filter (measure = 'close_usd') as session_count,
    count(*) filter (measure = 'close_usd' and is_winner) as won_session_count, count(*) as value_count,
    count(*) filter (verdict = 'agrees') as agreeing_count, count(*) filter (is_equal) as equal_count, count(*) filter (verdict = 'differs') as differing_count,
    count(*) filter (verdict = 'missed_split') as missed_split_count, max(provider_score) as provider_score,
    max(provider_score) as confirmed_ratio,
    max(abs(difference_ratio)) filter (measure = 'close_usd') as largest_close_difference_ratio
from mart_reconciliation
group by provider, instrument_id;

create table mart_adjustment_check as
select
    md5(f.instrument_id || f.session_date || kind) as adjustment_check_key, 'fmp' as provider,
    'eod_' || kind as dataset, f.instrument_id, f.symbol, f.session_date, kind as adjustment,
    f.close_usd as raw_close_usd, if(kind = 'split_adjusted', f.split_factor / n.split_factor, f.total_factor / n.total_factor) as adjustment_ratio,
    f.close_usd * adjustment_ratio as own_close_usd,
    round(own_close_usd, 2) + if(f.symbol = 'ELKO' and f.session_date = date '2026-11-18', 0.4, 0) as vendor_close_usd,
    vendor_close_usd - own_close_usd as difference_usd,
    0.005 * (1 + adjustment_ratio) + 0.0001 * vendor_close_usd as tolerance_usd,
    abs(difference_usd) <= tolerance_usd as is_equal, timestamp '2026-11-20 22:10:00' at time zone 'UTC' as known_at
from fact_daily_price as f
join dim_price_anchor as n on n.instrument_id = f.instrument_id
cross join (select unnest(['split_adjusted', 'dividend_adjusted']) as kind)
where f.provider = 'fmp';

create table mart_coverage as
with feeds as (
    select provider, dataset, grain, s::date as slice_start_date
    from dim_source
    cross join lateral (
        select unnest(if(
            grain = 'week', range(date '2026-10-26', date '2026-11-17', interval 7 day),
            range(date '2026-10-12', date '2026-11-21', interval 1 day)
        )) as s
    )
    where grain = 'week' or isodow(s) < 6
),
expected as (
    select f.*, m.instrument_id, m.symbol
    from feeds as f
    join members as m on m.is_followed and m.delisted_date is null
        and (m.asset_class = 'stock' or f.dataset <> 'overview')
)
select
    md5(slice_start_date || e.dataset || e.symbol) as coverage_key, e.provider, e.dataset, slice_start_date,
    e.instrument_id, e.symbol,
    case
        when grain = 'session' then if(v.session_date is null, 'missing', 'fetched')
        when slice_start_date = date '2026-11-16' and e.symbol = 'SEAL' then 'deferred'
        when slice_start_date = date '2026-11-09' and e.symbol = 'MOTH' then 'failed'
        when e.dataset = 'overview' and e.symbol = 'NEWT' then 'empty'
        else 'fetched'
    end as outcome,
    case outcome when 'deferred' then 'quota' when 'failed' then 'unreachable' when 'empty' then 'no profile'
        when 'missing' then 'no_bar' else '' end as reason,
    outcome in ('fetched', 'empty') as is_complete,
    slice_start_date = max(slice_start_date) over (partition by e.provider, e.dataset) as is_newest_slice,
    if(is_complete, (slice_start_date + if(grain = 'week', 4, 0))::timestamp + interval 22 hour, null) at time zone 'UTC'
        as fetched_at,
    timestamp '2026-11-20 22:10:00' at time zone 'UTC' as newest_fetched_at,
    case when e.dataset = 'overview' then null when grain = 'session' then newest.session_date
        when e.symbol = 'SEAL' then date '2026-11-13' else date '2026-11-20' end as newest_session_date,
    if(e.symbol = 'SEAL' and grain = 'week', 8, 1) as age_days,
    if(e.symbol = 'SEAL' and grain = 'week', 1, 0) as snapshots_behind
from expected as e
left join fact_daily_price_version as v
    on v.instrument_id = e.instrument_id and v.provider = e.provider and v.dataset = e.dataset
    and v.session_date = e.slice_start_date and v.is_current
left join (
    select instrument_id, provider, dataset, max(session_date) as session_date
    from fact_daily_price_version group by all
) as newest
    on newest.instrument_id = e.instrument_id and newest.provider = e.provider and newest.dataset = e.dataset;

create table mart_restatement as
with changed as (
    select 'week' as cadence, p.instrument_id, p.symbol, p.provider, p.week_start_date as period_start_date,
        p.close_usd as old_value, n.close_usd as new_value, p.known_from as old_known_at, n.known_from as first_seen_at
    from fact_price_version as p
    join fact_price_version as n
        on n.instrument_id = p.instrument_id and n.week_start_date = p.week_start_date and n.version_number = 2
    where p.version_number = 1
    union all
    select 'day', p.instrument_id, p.symbol, p.provider, p.session_date, p.close_usd, n.close_usd, p.known_from,
        n.known_from
    from fact_daily_price_version as p
    join fact_daily_price_version as n
        on n.instrument_id = p.instrument_id and n.session_date = p.session_date and n.provider = p.provider
        and n.version_number = 2
    where p.version_number = 1
)
select
    md5(cadence || instrument_id || period_start_date || measure) as restatement_key, instrument_id, symbol, provider,
    cadence, period_start_date, if(cadence = 'week', period_start_date, null) as week_start_date,
    if(cadence = 'day', period_start_date, null) as session_date, measure, 1 as change_number, old_value, new_value,
    new_value / old_value - 1 as change_ratio, old_known_at, first_seen_at, 'correction' as cause
from changed
cross join lateral (select unnest(if(cadence = 'week', ['close', 'adjusted_close'], ['close'])) as measure);

comment on table fact_daily_price is 'One instrument and session: prices as traded, factors, returns and their windows.';
comment on column fact_daily_price.close_usd is 'Last trade of the session, as traded, USD.';

drop table periods;
drop table days;
drop table members;
