"""What a person wants to know about a model: its layers, its pitfalls, what maps on a device, and how good it still is.

::

    IntegerGraph --.
                    >-- network --> layers, receptive_field, pitfalls
    imported model-'
    document (report.json) --> html (report.html)
"""
