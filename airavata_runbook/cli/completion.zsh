#compdef airavata-runbook
# Completion of airavata-runbook in zsh; made by `airavata-runbook completion zsh` from the commands of this version.
@common@

_airavata-runbook() {
    local -a before found
    local line
    before=("${(@)words[2,CURRENT-1]}")
    for line in "${(@f)$(emulate sh; _airavata_runbook_next "$PREFIX" "${before[@]}")}"; do
        case "$line" in
        @files) _files ;;
        @folders) _files -/ ;;
        ?*) found+=("${line/$'\t'/:}") ;;
        esac
    done
    (( $#found )) && _describe airavata-runbook found
}
# Read by `source`, or found as the file _airavata-runbook in $fpath.
if [ "$funcstack[1]" = _airavata-runbook ]; then _airavata-runbook; else compdef _airavata-runbook airavata-runbook; fi
