-- One limit of requests and tokens per minute, shared by all workers that use one model of a provider.
--
-- KEYS[1] hash    the remaining amounts: requests_left, tokens_left (as of `at`, ms of this server's
--                 clock), and the provider's figures: requests_limit, tokens_limit; the milliseconds
--                 in which each fills up, requests_period, tokens_period; the largest amount that is
--                 available at once, requests_most, tokens_most. `began`: time of the first request;
--                 `answered`: 1 after the first answer, for which other workers wait a short time.
--                 `blocked_until` (ms): end of a pause that the provider asked for. `scale`: the
--                 provider's tokens per token as docmill counts, a mean over `bills` answers.
--                 `spent`: tokens of all permits so far. `permits`: their number. `margin`: this
--                 share of a request stays unused, because counts and clocks differ a little; more
--                 after a refusal. It delays only the first request.
-- KEYS[2] zset    waiting workers by priority and arrival: nobody overtakes the first one.
-- KEYS[3] zset    the same by the time of their last call: after 3 s of silence one is removed.
-- KEYS[4] zset    permits of running requests, "number:tokens:spent", by the time at which the
--                 requests must have ended.
-- KEYS[5] zset    workers by the time of their last call.
--
-- ask     ARGV: 'ask', worker, priority, tokens, longest request (ms), known limits of requests and
--         tokens ('' if none), used if this server knows none, for example after a restart
--         returns: receipt ('' if none), milliseconds to wait, requests_limit, tokens_limit, their
--         periods, tokens_most, scale, workers
-- leave   ARGV: 'leave', worker, priority
-- settle  ARGV: 'settle', receipt, billed tokens ('' if not known), duration in milliseconds, '1' if
--         it was refused because of a limit, '1' if it was not sent, pause after a refusal (ms), then
--         limit, remaining and reset (ms) of requests and of tokens ('' if not given)
-- An answer without a limit does not change it. All times are those of this server.
local bucket, line, asked_at, open, workers = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SILENT, WORKER, KEPT = 3000, 300000, 86400000
local MINUTE, POLL, FIRST = 60000, 100, 1000
local LEAST_MARGIN, MOST_MARGIN = 0.05, 0.5
local QUOTAS = {'requests', 'tokens'}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = {}
local fields = redis.call('HGETALL', bucket)
for i = 1, #fields, 2 do
    state[fields[i]] = tonumber(fields[i + 1])
end

-- Add the amount that became available since the last call.
local passed = math.max(0, now - (state.at or now))
for _, quota in ipairs(QUOTAS) do
    local limit, period = state[quota .. '_limit'], state[quota .. '_period'] or MINUTE
    if limit then
        local left = math.max(-limit, state[quota .. '_left'] or 0)
        state[quota .. '_left'] = math.min(state[quota .. '_most'] or limit, left + passed * limit / period)
    end
end
state.at = now

local function save()
    local written = {}
    for name, value in pairs(state) do
        table.insert(written, name)
        table.insert(written, string.format('%.6f', value))
    end
    redis.call('HSET', bucket, unpack(written))
    for _, key in ipairs(KEYS) do
        redis.call('PEXPIRE', key, KEPT)
    end
end

-- Tokens and number of the running permits before this one.
local function under_way_before(permit)
    local sum, count = 0, 0
    for _, receipt in ipairs(redis.call('ZRANGE', open, 0, -1)) do
        local number, tokens = string.match(receipt, '^(%d+):([^:]+):')
        if tonumber(number) < permit then
            sum, count = sum + tonumber(tokens), count + 1
        end
    end
    return {tokens = sum, requests = count}
end

local function forget(waiter)
    redis.call('ZREM', line, waiter)
    redis.call('ZREM', asked_at, waiter)
end

local function ask(worker, priority, tokens, longest, known)
    redis.call('ZADD', workers, now, worker)
    redis.call('ZREMRANGEBYSCORE', workers, '-inf', now - WORKER)
    redis.call('ZREMRANGEBYSCORE', open, '-inf', now)
    for _, silent in ipairs(redis.call('ZRANGEBYSCORE', asked_at, '-inf', now - SILENT)) do
        forget(silent)
    end
    for _, quota in ipairs(QUOTAS) do
        if known[quota] and not state[quota .. '_limit'] then
            -- Nobody knows how much others have used, so start from zero.
            state[quota .. '_limit'], state[quota .. '_left'] = known[quota], 0
        end
    end
    local waiter = priority .. ':' .. worker
    if not redis.call('ZSCORE', line, waiter) then
        redis.call('ZADD', line, priority * 1e14 + now, waiter)
    end
    redis.call('ZADD', asked_at, now, waiter)

    local receipt, wait = '', math.max(0, (state.blocked_until or 0) - now)
    local cost = {requests = 1, tokens = tokens * (state.scale or 1)}
    for _, quota in ipairs(QUOTAS) do
        local limit, period = state[quota .. '_limit'], state[quota .. '_period'] or MINUTE
        if limit then
            cost[quota] = math.min(cost[quota], limit)
            -- A request that never fits is tried anyway: the refusal tells the limit.
            state[quota .. '_most'] = math.max(state[quota .. '_most'] or limit, cost[quota])
            local needed = cost[quota] * (1 + (state.margin or LEAST_MARGIN))
            needed = math.min(needed, state[quota .. '_most'])
            wait = math.max(wait, (needed - state[quota .. '_left']) * period / limit)
        end
    end
    if not state.answered and state.began and now < state.began + FIRST then
        wait = math.max(wait, POLL)  -- the first answer tells the limit
    end
    if redis.call('ZRANGE', line, 0, 0)[1] ~= waiter then
        wait = math.max(wait, POLL)
    elseif wait <= 0 then
        for _, quota in ipairs(QUOTAS) do
            if state[quota .. '_limit'] then
                state[quota .. '_left'] = state[quota .. '_left'] - cost[quota]
            end
        end
        state.began = state.began or now
        state.permits = (state.permits or 0) + 1
        state.spent = (state.spent or 0) + cost.tokens
        receipt = string.format('%d:%.3f:%.3f', state.permits, cost.tokens, state.spent)
        redis.call('ZADD', open, now + longest, receipt)
        forget(waiter)
    end
    local function said(name) return state[name] and string.format('%.3f', state[name]) or '' end
    return {receipt, math.ceil(wait), said('requests_limit'), said('tokens_limit'),
            said('requests_period'), said('tokens_period'), said('tokens_most'), said('scale'),
            redis.call('ZCARD', workers)}
end

-- Use the remaining amount that the provider reported when it took the request with this receipt. Add
-- the amount that has become available since. Subtract permits that were given later or ran then.
local function correct(quota, limit, remaining, reset, mine, took)
    local is_new = not state[quota .. '_limit']
    state[quota .. '_limit'] = limit
    local period = MINUTE
    if remaining and reset and limit - remaining >= limit / 100 then
        -- A daily limit fills up more slowly. A reset within a minute does not prove a shorter period.
        local told = reset * limit / (limit - remaining)
        if told > 1.5 * MINUTE then period = math.min(told, KEPT) end
    end
    state[quota .. '_period'] = period
    state[quota .. '_most'] = math.min(limit, remaining and reset and remaining + reset * limit / period or limit)
    local left = state[quota .. '_left'] or 0
    local others = under_way_before(mine.permit)[quota]
    local later = quota == 'tokens' and (state.spent or 0) - mine.spent or (state.permits or 0) - mine.permit
    if is_new then
        left = (remaining or limit) - others - later
    elseif remaining then
        left = math.max(left, remaining - others - later)
    end
    if remaining then
        left = math.min(left, remaining + took * limit / period)
    end
    state[quota .. '_left'] = math.min(left, state[quota .. '_most'] or limit)
end

local function settle(receipt, billed, took, is_refused, is_unsent, pause, said)
    local permit, cost, spent = string.match(receipt, '^(%d+):([^:]+):([^:]+)$')
    if not permit then return end
    local mine = {permit = tonumber(permit), cost = tonumber(cost), spent = tonumber(spent)}
    redis.call('ZREM', open, receipt)
    if is_unsent then
        for quota, amount in pairs({requests = 1, tokens = mine.cost}) do
            if state[quota .. '_limit'] then
                state[quota .. '_left'] = state[quota .. '_left'] + amount
            end
        end
        return
    end
    state.answered = 1
    local margin = state.margin or LEAST_MARGIN
    state.margin = is_refused and math.min(MOST_MARGIN, 2 * margin) or math.max(LEAST_MARGIN, 0.95 * margin)
    if billed and billed > 0 and mine.cost > 0 then
        local scale = state.scale or 1
        -- Bounded, because a provider's figures may be wrong.
        local ratio = math.max(0.25, math.min(4, billed / mine.cost))
        state.bills = (state.bills or 0) + 1
        local weight = math.max(0.1, 1 / state.bills)
        state.scale = math.max(0.25, math.min(4, scale + weight * (ratio - 1) * scale))
        if state.tokens_limit then
            state.tokens_left = state.tokens_left + mine.cost * (1 - ratio)
        end
    end
    for _, quota in ipairs(QUOTAS) do
        if said[quota].limit then
            correct(quota, said[quota].limit, said[quota].remaining, said[quota].reset, mine, took)
        elseif is_refused and state[quota .. '_limit'] then
            state[quota .. '_left'] = math.min(state[quota .. '_left'], 0)
        end
    end
    if is_refused then
        state.blocked_until = math.max(state.blocked_until or 0, now + pause)
    end
end

local answer = false
if ARGV[1] == 'ask' then
    local known = {requests = tonumber(ARGV[6]), tokens = tonumber(ARGV[7])}
    answer = ask(ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), known)
elseif ARGV[1] == 'leave' then
    forget(ARGV[3] .. ':' .. ARGV[2])
else
    local number = {}
    for i = 3, 13 do number[i] = tonumber(ARGV[i]) end
    settle(ARGV[2], number[3], number[4], ARGV[5] == '1', ARGV[6] == '1', number[7], {
        requests = {limit = number[8], remaining = number[9], reset = number[10]},
        tokens = {limit = number[11], remaining = number[12], reset = number[13]}})
end
save()
return answer
