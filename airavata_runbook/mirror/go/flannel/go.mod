module airavata-runbook/mirror/flannel

go 1.26.0

require github.com/flannel-io/flannel v0.28.10

// The Tencent Cloud SDK versions that flannel asks for are not on every module proxy; flannel's Tencent backend is
// compiled in but not used here, and this older release of the same SDK compiles.
replace (
	github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common => github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/common v1.0.1000
	github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc => github.com/tencentcloud/tencentcloud-sdk-go/tencentcloud/vpc v1.0.1000
)
