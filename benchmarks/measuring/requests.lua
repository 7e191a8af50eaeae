-- For wrk: sends the requests of a file in turn, and prints how many were answered, in
-- how many microseconds, how many failed, and in how many microseconds 99% of
-- them were answered.
-- Requests lie in the file that is named behind "--", each behind a line with its length.
local requests = {}
local count = 0

function init(args)
  local file = io.open(args[1], "rb")
  while true do
    local length = file:read("*l")
    if not length then break end
    requests[#requests + 1] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  count = count + 1
  return requests[(count - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  local failures = errors.connect + errors.read + errors.write + errors.status
  failures = failures + errors.timeout
  local most = latency:percentile(99)
  local counts = string.format("%d %d %d", summary.requests, summary.duration, failures)
  io.write(string.format("\n%s %d\n", counts, most))
end
