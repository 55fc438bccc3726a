package admission

import (
	"bytes"
	"encoding/json"
)

// Object is an object of the API as package encoding/json has it. Numbers are json.Number, so that none of them changes on its way.
type Object map[string]any

// At is what stands at a path of member names, or nil.
func (o Object) At(path ...string) any {
	var at any = map[string]any(o)
	for _, name := range path {
		members, _ := at.(map[string]any)
		at = members[name]
	}
	return at
}

// Text is the string at a path; empty where there is none.
func (o Object) Text(path ...string) string {
	text, _ := o.At(path...).(string)
	return text
}

// Set puts a value at a path, and makes what is missing on the way to it.
func (o Object) Set(value any, path ...string) {
	members := map[string]any(o)
	for _, name := range path[:len(path)-1] {
		below, is := members[name].(map[string]any)
		if !is {
			below = map[string]any{}
			members[name] = below
		}
		members = below
	}
	members[path[len(path)-1]] = value
}

// Parse reads JSON; nothing gives nil. It panics where the text is no object.
func Parse(text []byte) Object {
	if len(text) == 0 {
		return nil
	}
	var object Object
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil {
		panic("an object that cannot be read: " + err.Error())
	}
	return object
}

// JSON is the object's text.
func (o Object) JSON() []byte {
	text, err := json.Marshal(o)
	if err != nil {
		panic("an object that cannot be written: " + err.Error())
	}
	return text
}
