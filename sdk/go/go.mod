module pintle.dev/sdk

go 1.24
