-- One row per split or dividend of an instrument that took effect from $since to $until, newest first; of those known
-- at $known_at when it is given. What is announced for later has not happened.
select
    effective_date,
    action_type,
    kind,
    split_ratio,
    cash_amount::double as cash_amount,
    currency,
    declaration_date,
    record_date,
    pay_date,
    frequency_per_year,
    provider,
    provider_count,
    known_from as known_at
from fact_corporate_action
where
    instrument_id = $instrument_id
    and effective_date between $since and $until
    and ($known_at::timestamptz is null or known_from <= $known_at::timestamptz)
order by effective_date desc, action_type asc, kind asc
