#!/usr/bin/env bash
# Shows without a Docker engine that the Dockerfile works: plays its own instructions, one by one, in empty
# folders, then starts what came out and asks of it what Docker would. Nothing of the Dockerfile is repeated
# here. Where this differs from a real build:
#   - a stage's root is a folder, so paths below WORKDIR are rewritten to lie in it
#   - npm is the machine's; Node is, after the first stage, the one that this stage has installed
#   - apt-get steps are left out, and the user is `nobody` (without root: oneself)
# shellcheck disable=SC2016 # scripts for node stand in single quotes
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."

readonly START_TIMEOUT_S=30 STOP_TIMEOUT_S=30

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() {
  say "FAILED: $*" >&2
  exit 1
}

roots=$(mktemp -d)
service=
finish() {
  local status=$?
  if [[ -n $service ]]; then { kill -KILL "$service" || true; wait "$service" || true; } 2>/dev/null; fi
  if ((status != 0)) && [[ -s $roots/output ]]; then sed 's/^/        | /' "$roots/output" >&2; fi
  rm -rf "$roots"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$roots"

# --- playing the Dockerfile -----------------------------------------------------------------------------

stage='' workdir=/ environment=() command='' health=''
image_user=$(sed -n 's/^USER //p' Dockerfile)

# Who runs the service: an array to put before a command, and the owner of its data.
as_user=() owner=$(id -un):$(id -gn)
if ((EUID != 0)); then
  say 'note: not root, so the service runs as oneself'
elif setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups test -x "$roots"; then
  as_user=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
  owner=nobody:$(id -gn nobody)
else
  fail "the user nobody cannot read $roots: give a TMPDIR that everyone can read"
fi

# One instruction a line, without comments, continued lines joined.
read_instructions() {
  sed '/^[[:space:]]*#/d; /^[[:space:]]*$/d' Dockerfile | sed -E ':next; /\\$/ { N; s/[[:space:]]*\\\n[[:space:]]*/ /; b next }'
}

# The folder that stands for a path of a stage.
folder_of() {
  local stage=$1 path=$2
  [[ $path == /* ]] || path=${workdir%/}/$path
  echo "$roots/$stage$path"
}

# Text of the Dockerfile with its paths and its user as they are here.
localised() {
  local text=$1
  if [[ $workdir != / ]]; then text=${text//"$workdir"/"$roots/$stage$workdir"}; fi
  echo "${text//"$image_user:$image_user"/"$owner"}"
}

# What a build is sent: all that .dockerignore excepts from its `*`.
make_context() {
  local allowed
  [[ $(sed '/^#/d' .dockerignore | head -n 1) == '*' ]] || fail '.dockerignore must begin with *'
  mapfile -t allowed < <(sed -n 's/^!//p' .dockerignore)
  mkdir "$roots/context"
  cp -R --parents "${allowed[@]}" "$roots/context"
  say "build context: ${allowed[*]}"
}

# FROM image AS name
begin_stage() {
  local image=$1 before=$stage node
  stage=$3 && mkdir "$roots/$stage"
  if [[ -n $before ]]; then
    node=$(folder_of "$before" node_modules/node/bin)
    PATH=$node:$PATH
    [[ $("$node/node" --version) == v${image//[!0-9]/}.* ]] || fail "$image is not the Node that is installed"
    say "Node is $(node --version) from here on, as in $image"
  fi
  workdir=/ environment=()
}

# COPY [--from=stage] source… target
copy() {
  local from=context source target
  if [[ $1 == --from=* ]]; then from=${1#--from=} && shift; fi
  target=$(folder_of "$stage" "${*: -1}")
  mkdir -p "$target"
  for source in "${@:1:$#-1}"; do
    # The context has no working folder.
    if [[ $from == context ]]; then source=$roots/context/$source; else source=$(folder_of "$from" "$source"); fi
    if [[ -d $source ]]; then cp -R "$source/." "$target"; else cp "$source" "$target"; fi
  done
}

run() {
  local line=$*
  # Flags are the builder's.
  while [[ $line == --* ]]; do line=${line#* }; done
  if [[ $line == apt-get* ]]; then
    say '        left out: system packages are not part of this check'
    return
  fi
  # The machine's Node may be an older one than that of the image.
  (cd "$(folder_of "$stage" .)" && env "${environment[@]}" "PATH=$(folder_of "$stage" node_modules/node/bin):$PATH" sh -ec "$(localised "$line")") >"$roots/output" 2>&1 ||
    fail "RUN $line"
  : >"$roots/output"
}

play() {
  local name=$1 word words
  shift
  read -ra words <<<"$*"
  say "$stage${stage:+: }$name $*"
  case $name in
    FROM) begin_stage "${words[@]}" ;;
    WORKDIR) workdir=$1 && mkdir -p "$roots/$stage$workdir" ;;
    COPY) copy "${words[@]}" ;;
    RUN) run "$*" ;;
    ENV) for word in "${words[@]}"; do environment+=("$(localised "$word")"); done ;;
    HEALTHCHECK) health=${*#*CMD } ;;
    CMD) command=$* ;;
    USER | VOLUME | EXPOSE) ;;
    *) fail "this check does not know $name" ;;
  esac
}

# --- trying what came out ------------------------------------------------------------------------------

# The words of an exec form, a JSON array, in `words`.
read_exec_form() {
  mapfile -d '' -t words < <(node -e 'for (const word of JSON.parse(process.argv[1])) process.stdout.write(`${word}\0`)' "$1" 2>/dev/null)
  ((${#words[@]} > 0)) || fail "not in exec form, so signals would end at a shell: $1"
}

start_service() {
  local port words
  port=$(node -p 'const server = require("node:net").createServer().listen(0); const { port } = server.address(); server.close(); port')
  # Nothing of this machine's environment: it may hold settings of a real service.
  inside=("${as_user[@]}" env -i "PATH=$PATH" "${environment[@]}" "PORT=$port")
  read_exec_form "$command"
  "${inside[@]}" "${words[@]}" >"$roots/output" 2>&1 &
  service=$!
  say "started: ${words[*]} (as ${owner%%:*}, on port $port)"
}

await_health() {
  local words
  read_exec_form "$health"
  for ((try = 0; try < START_TIMEOUT_S * 4; try += 1)); do
    kill -0 "$service" 2>/dev/null || fail 'the service has ended'
    if "${inside[@]}" "${words[@]}"; then return; fi
    sleep 0.25
  done
  fail 'the service does not get healthy'
}

ask_graphql() {
  local answer
  answer=$("${inside[@]}" node --input-type=module -e '
    const response = await fetch(`http://127.0.0.1:${process.env.PORT}/graphql`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ query: "{ upscaleService { mode } }" }),
    })
    console.log(await response.text())') || fail 'the service gives no answer to a GraphQL query'
  [[ $answer == *'"mode":"SANDBOX"'* ]] || fail "the answer to a GraphQL query is $answer"
  say "GraphQL answers $answer"
}

ask_console() {
  local answer
  answer=$("${inside[@]}" node --input-type=module -e '
    const { status, headers } = await fetch(`http://127.0.0.1:${process.env.PORT}/console/`)
    console.log(status, headers.get("content-type"))') || fail 'the service gives no answer at /console/'
  [[ $answer == '200 text/html'* ]] || fail "the answer at /console/ is $answer"
  say "the console answers $answer"
}

# Only GraphiQL's parts and sharp are outside of the bundle.
ask_graphiql() {
  local answer
  answer=$("${inside[@]}" node --input-type=module -e '
    const headers = { accept: "text/html" }
    const { status, headers: given } = await fetch(`http://127.0.0.1:${process.env.PORT}/graphql`, { headers })
    console.log(status, given.get("content-type"))') || fail 'the service gives no answer to a browser at /graphql'
  [[ $answer == '200 text/html'* ]] || fail "the answer to a browser at /graphql is $answer"
  say "GraphiQL answers $answer"
}

ask_picture() {
  local answer
  answer=$("${inside[@]}" node --input-type=module -e '
    const ask = async (query) => {
      const response = await fetch(`http://127.0.0.1:${process.env.PORT}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query }),
      })
      return (await response.json()).data
    }
    const input = `{ taskId: "image", imageIndex: 0 }`
    const { upscaleImage } = await ask(`mutation { upscaleImage(input: ${input}) { task { id } } }`)
    const { id } = upscaleImage.task
    for (let tries = 0; tries < 100; tries += 1) {
      const { upscaleTask: { images } } = await ask(`{ upscaleTask(id: "${id}") { images { width } } }`)
      // On a slow machine a task succeeds before its pictures are measured; the facts follow.
      if (typeof images?.[0].width === "number") {
        console.log(images[0].width)
        break
      }
      await new Promise((resolve) => setTimeout(resolve, 200))
    }') || fail 'the service did not upscale a picture'
  [[ $answer =~ ^[0-9]+$ ]] || fail "the width of a picture is $answer"
  say "a picture is $answer pixels wide"
}

stop_service() {
  local status=0
  kill -TERM "$service"
  for ((try = 0; try < STOP_TIMEOUT_S * 10; try += 1)); do
    kill -0 "$service" 2>/dev/null || break
    sleep 0.1
  done
  if kill -0 "$service" 2>/dev/null; then fail "still running ${STOP_TIMEOUT_S} s after SIGTERM"; fi
  wait "$service" || status=$?
  service=
  ((status == 0)) || fail "ended with $status after SIGTERM"
}

make_context
mapfile -t instructions < <(read_instructions)
for instruction in "${instructions[@]}"; do
  read -r name rest <<<"$instruction"
  play "$name" "$rest"
done

cd "$(folder_of "$stage" .)"
start_service
await_health
say 'healthy, says the HEALTHCHECK'
ask_graphql
ask_console
ask_graphiql
ask_picture
stop_service
say 'ended with 0 after SIGTERM'
say 'OK: the steps of the Dockerfile work'
