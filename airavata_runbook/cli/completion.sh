# What may follow: `_airavata_runbook_next CURRENT WORD…` prints a line for each candidate, the word, a tab and what it does; and
# @files or @folders where a path may follow. bash and zsh alike understand it.
_airavata_runbook_next() {
    local current="$1" at="" kind="" site=lab number=0 word
    shift
    for word in "$@"; do
        [ "$word" != "=" ] || continue
        if [ -n "$kind" ]; then # the value of an option
            [ "$kind" != site ] || site="$word"
            kind=""
            continue
        fi
        case "$at $word" in
@steps@
@values@
        *" -"*) ;;
        *)
            _airavata_runbook_positional
            [ "$kind" != site ] || site="$word"
            kind=""
            number=$((number + 1))
            ;;
        esac
    done
    if [ -z "$kind" ]; then
        case "$current" in
        -*)
            _airavata_runbook_options
            return
            ;;
        esac
        _airavata_runbook_commands
        _airavata_runbook_positional
        [ -n "$kind" ] || [ -z "$at" ] || _airavata_runbook_options
    fi
    case "$kind" in
    site)
        case "$current" in
        [./~]* | */*) echo @files ;;
        *) _airavata_runbook_names parameters .yaml ;;
        esac
        ;;
    chapter) _airavata_runbook_names notebooks .ipynb ;;
    host) _airavata_runbook_hosts ;;
    file) echo @files ;;
    folder) echo @folders ;;
    "one of "*) echo "${kind#one of }" | tr ' ' '\n' ;;
    esac
}

_airavata_runbook_commands() {
    case "$at" in
@commands@
    esac
}

_airavata_runbook_positional() {
    case "$at/$number" in
@positionals@
    esac
}

_airavata_runbook_options() {
    case "$at" in
@options@
    esac
}

# The nearest folder that holds parameters/, as the runbook finds it.
_airavata_runbook_project() {
    local folder="$PWD"
    while [ ! -d "$folder/parameters" ]; do
        [ -n "$folder" ] || return
        folder="${folder%/*}"
    done
    echo "$folder"
}

# The files in a folder of the project, without their ending.
_airavata_runbook_names() {
    local file
    for file in "$(_airavata_runbook_project)/$1"/*"$2"; do
        [ ! -f "$file" ] || basename "$file" "$2"
    done
}

# The names below `nodes:` in the site file.
_airavata_runbook_hosts() {
    local file
    for file in "$site" "$(_airavata_runbook_project)/parameters/$site.yaml"; do
        [ -f "$file" ] || continue
        awk '
            { sub(/(^| )#.*/, ""); match($0, /^ */); indent = RLENGTH }
            NF && inside && indent <= level && substr($0, indent + 1, 1) != "-" { inside = 0 }
            inside {
                while (match($0, /(^|[{, ])name: *["'"'"']?[a-z0-9-]+/)) {
                    name = substr($0, RSTART, RLENGTH)
                    $0 = substr($0, RSTART + RLENGTH)
                    sub(/.*name: *["'"'"']?/, "", name)
                    print name
                }
            }
            $1 == "nodes:" { inside = 1; level = indent }
        ' "$file"
        return
    done
}
