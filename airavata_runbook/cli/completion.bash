# Completion of airavata-runbook in bash; made by `airavata-runbook completion bash` from the commands of this version.
@common@

_airavata_runbook() {
    local current="${COMP_WORDS[COMP_CWORD]}" word text
    [ "$current" != "=" ] || current=""
    COMPREPLY=()
    while IFS=$'\t' read -r word text; do
        case "$word" in
        @files) compopt -o default ;;
        @folders) compopt -o dirnames ;;
        "$current"*) COMPREPLY+=("$word") ;;
        esac
    done < <(_airavata_runbook_next "$current" "${COMP_WORDS[@]:1:COMP_CWORD-1}")
}
complete -F _airavata_runbook airavata-runbook
