module {{name}}

go 1.24

require pintle.dev/sdk v0.0.0

replace pintle.dev/sdk => ./.pintle/sdk/go
