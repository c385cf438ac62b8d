-- Looks up what was decided about a request, asks the agent where nothing was, and picks a pod. Decides nothing itself.
-- The agent pushes what this file needs into shared memory; every worker takes it from there within a tenth of a second.

local lrucache = require "resty.lrucache"
local balancer = require "ngx.balancer"

local shared = ngx.shared.state
local M = {}

-- How often a worker looks whether something was pushed, in seconds.
local LOOK = 0.1
-- How long a pod is left alone after it could not be connected to, in seconds.
local REST = 5
-- What nginx itself says where an upstream has nobody, and answers with 502. By a status it would end a request with 500 here.
local NOBODY = -3
-- A path that needs nobody to say that it is canonical: small letters, a plain release, no query.
local PLAIN = [[\A/(?:[a-z0-9_~-]+(?:\.[a-z0-9_~-]+)*/)+@v/v(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)]]
  .. [[(?:-[0-9a-z]+(?:[.-][0-9a-z]+)*)?\.(info|mod|zip)\z]]
-- What is remembered by a longer key than this would be somebody's way to fill memory.
local KEY_MAX = 2048
-- Locations of nginx by the room that the agent names.
local ROOMS = { small = "@small", zip = "@small", mutable = "@mutable", canary = "@canary", sums = "@sums" }

-- What was pushed last, as this worker has it.
local held
-- Decisions. Those that refuse are apart, so that somebody who tries paths pushes out nobody's who downloads.
local passes = assert(lrucache.new(20000))
local refusals = assert(lrucache.new(2000))
-- A number for each credential, so that a token is not kept once more for each path.
local credentials = assert(lrucache.new(1000))
local credential = 0
-- Pods that are left alone, and until when.
local resting = {}
local turn = 0

local function read(text, version)
  local next = { peers = {}, version = version }
  for line in text:gmatch("[^\n]+") do
    local fields = {}
    for field in (line .. "\t"):gmatch("([^\t]*)\t") do
      fields[#fields + 1] = field
    end
    if fields[1] == "peers" then
      local list = {}
      for i = 3, #fields, 2 do
        list[#list + 1] = { host = fields[i], port = tonumber(fields[i + 1]), name = fields[i] .. " " .. fields[i + 1] }
      end
      next.peers[fields[2]] = list
    else
      next[fields[1]] = fields[2]
    end
  end
  next.by_authorization = next.authorization == "1"
  next.by_address = next.address == "1"
  return next
end

local function take()
  local version = shared:get("version")
  if not version or (held and held.version == version) then
    return
  end
  local next = read(shared:get("pushed"), version)
  if held and held.mark ~= next.mark then
    passes:flush_all()
    refusals:flush_all()
  end
  held, resting = next, {}
  shared:set("worker " .. ngx.worker.id(), version)
end

function M.start()
  take()
  assert(ngx.timer.every(LOOK, take))
end

function M.push()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if not text or not text:find("^push\t%x+\nmark\t%x+\n") then
    ngx.status = 400
    return ngx.say("not what an agent pushes")
  end
  local ok, err = shared:set("pushed", text)
  if not ok then
    ngx.status = 500
    return ngx.say(err)
  end
  shared:incr("version", 1, 0)
  take()
  ngx.say("ok")
end

-- What every worker has; nothing while one does not have the newest.
function M.held()
  take()
  local version = shared:get("version")
  for id = 0, ngx.worker.count() - 1 do
    if not version or shared:get("worker " .. id) ~= version then
      return ngx.say("")
    end
  end
  ngx.say(held.push)
end

function M.health()
  ngx.status = held and 200 or 503
  ngx.say(held and "ok" or "nothing was pushed yet")
end

local function refuse(status, text, name)
  ngx.var.edge_decision = name
  ngx.status = status
  local header = ngx.header
  header["Content-Type"] = "text/plain; charset=utf-8"
  if status == 401 then
    header["WWW-Authenticate"] = 'Basic realm="Go modules", charset="UTF-8"'
  elseif status == 405 then
    header["Allow"] = "GET, HEAD"
  elseif status == 503 then
    header["Retry-After"] = "5"
  end
  ngx.say(text)
  return ngx.exit(ngx.HTTP_OK)
end

local function field(kind, value)
  return (#value + 1) .. ":" .. kind .. value
end

local function question(target)
  local parts = { field("t", target), field("p", ngx.var.remote_addr) }
  local headers = ngx.req.get_headers(100)
  for kind, name in pairs { f = "x-forwarded-for", a = "authorization" } do
    local values = headers[name]
    for _, value in ipairs(type(values) == "table" and values or { values }) do
      parts[#parts + 1] = field(kind, value)
    end
  end
  return table.concat(parts)
end

-- One question over a connection that may have been kept from before: an agent that began anew has closed it.
local function exchange(text)
  for attempt = 1, 2 do
    local socket = ngx.socket.tcp()
    socket:settimeouts(500, 2000, 5000)
    if not socket:connect("unix:ask.sock") then
      return nil
    end
    local reused = socket:getreusedtimes() > 0
    local line = socket:send { #text, "\n", text } and socket:receive "*l"
    if line then
      socket:setkeepalive(60000, 128)
      return line
    end
    socket:close()
    if not reused then
      return nil
    end
  end
end

local function ask(target, key)
  local line = exchange(question(target))
  if not line then
    local plain = held.open == "1" and ngx.re.match(target, PLAIN, "jo")
    return plain and { room = plain[1] == "zip" and "zip" or "small", path = target, revision = held.stable }
  end
  local mark, seconds, status, room, path, revision, subject, address, name, text =
    line:match("^(%x*)\t(%d+)\t(%d*)\t(%a*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)$")
  if not mark then
    return nil
  end
  local decision = {
    status = tonumber(status), room = room, path = path, revision = revision, name = name, text = text,
    subject = subject ~= "" and subject or nil, address = address ~= "" and held.by_address and address or nil,
  }
  -- An answer by settings that this worker does not have yet is good for one request.
  if mark == held.mark and seconds ~= "0" and #key <= KEY_MAX then
    local cache = decision.status and refusals or passes
    cache:set(key, decision, tonumber(seconds))
  end
  return decision
end

local function number_of(authorization)
  local number = credentials:get(authorization)
  if not number then
    credential = credential + 1
    number = credential
    credentials:set(authorization, number)
  end
  return number
end

function M.access()
  local var = ngx.var
  if not held then
    return refuse(503, "this proxy has only just begun; try again", "unready")
  end
  local method = ngx.req.get_method()
  if method ~= "GET" and method ~= "HEAD" then
    return refuse(405, "a module proxy is only read from", "method")
  end
  local target = var.request_uri
  local key = target
  if held.by_authorization then
    key = key .. "\0" .. number_of(var.http_authorization or "")
  end
  if held.by_address then
    key = key .. "\0" .. var.remote_addr .. "\0" .. (var.http_x_forwarded_for or "")
  end
  local decision = passes:get(key) or refusals:get(key) or ask(target, key)
  if not decision then
    return refuse(503, "this proxy cannot decide right now; try again", "undecided")
  end
  if decision.subject then
    var.edge_identity = decision.subject
  end
  if decision.address then
    var.edge_address = decision.address
  end
  if decision.status then
    return refuse(decision.status, decision.text, decision.name)
  end
  var.edge_path = decision.path
  var.edge_revision = decision.revision
  if decision.room ~= var.edge_room then
    return ngx.exec(ROOMS[decision.room])
  end
end

-- Picks a pod of the revision, another one for each attempt, and not one that is left alone if there is any other.
function M.engine()
  local var = ngx.var
  local revision = var.edge_revision
  if not revision or revision == "" or var.edge_fallback == "1" then
    revision = held and held.stable
  end
  -- The agent may have decided by settings that this worker takes in a moment: until then those that it has hold.
  local list = held and (held.peers[revision] or held.peers[held.stable])
  if not list then
    return ngx.exit(NOBODY)
  end
  local ctx, now = ngx.ctx, ngx.now()
  local failed = balancer.get_last_failure()
  if not failed then
    turn = turn + 1
    ctx.edge_turn = turn
    balancer.set_more_tries(math.min(#list, 3) - 1)
  else
    if failed == "failed" then
      resting[ctx.edge_peer] = now + REST
    end
    ctx.edge_turn = ctx.edge_turn + 1
  end
  local peer = list[ctx.edge_turn % #list + 1]
  for i = 0, #list - 1 do
    local candidate = list[(ctx.edge_turn + i) % #list + 1]
    if (resting[candidate.name] or 0) <= now then
      peer = candidate
      break
    end
  end
  ctx.edge_peer = peer.name
  assert(balancer.set_current_peer(peer.host, peer.port))
end

return M
